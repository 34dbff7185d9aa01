//! What one life is to be: drawn from the run's seed and the life's number, and from nothing else. What
//! comes of it also depends on who is killed meanwhile.

use fastrand::Rng;

/// SKUs that there is enough of.
const PLENTY: u64 = 8;
/// SKUs that there is less of than is wanted.
const RARE: u64 = 4;
/// How many lives of a hundred want something rare.
const WANTING_RARE_PERCENT: u8 = 12;
const GOOD_CARDS: [&str; 3] = ["pm_card_visa", "pm_card_mastercard", "pm_card_amex"];
const BAD_CARDS: [&str; 5] = [
    "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedLostCard",
    "pm_card_chargeDeclinedExpiredCard",
    "pm_card_chargeDeclinedProcessingError",
];
const UNKNOWN_CARD: &str = "pm_card_of_nobody";
const BANK_CARDS: [&str; 2] = ["pm_card_threeDSecure2Required", "pm_card_authenticationRequired"];
/// What may go wrong with a request; the first two lose the answer, and what has an `_after` has happened.
pub(crate) const FAULTS: [&str; 5] =
    ["timeout_before", "timeout_after", "error_before", "error_after", "slow"];
/// What goes wrong is one of these requests.
const OPERATIONS: [&str; 6] = ["create", "confirm", "capture", "cancel", "refund", "retrieve"];
/// What may go wrong with a webhook.
pub(crate) const WORD_FAULTS: [&str; 6] =
    ["duplicate", "delay", "reorder", "lose", "forge", "stale"];
/// The longest wait for an answer, a usual one, and none.
const WAITS: [&str; 4] = ["wait=20", "wait=20", "wait=2", "respond-async"];
/// Longer than a task of the engine lasts, so that what a customer says meanwhile is heard.
const LONGER_THAN_A_TASK_MS: u64 = 3000;

/// One life.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    /// What is in the cart.
    pub(crate) lines: Vec<(String, i64)>,
    /// What the customer says it costs.
    pub(crate) agreed: Agreed,
    /// The stock is held before anything is said of paying.
    pub(crate) interactive: bool,
    /// What is tried, one after the other; an express checkout has one.
    pub(crate) cards: Vec<&'static str>,
    /// What the customer tells the bank, if it asks.
    pub(crate) bank: Bank,
    /// When the customer's browser comes back from it.
    pub(crate) back: Back,
    /// How long they wait for an answer, as `Prefer` has it.
    pub(crate) wait: &'static str,
    /// How many of the same request are sent at the same time.
    pub(crate) at_once: usize,
    /// (operation, kind, milliseconds) of what goes wrong between the shop and the card network.
    pub(crate) faults: Vec<(&'static str, &'static str, u64)>,
    /// What goes wrong with the first of the card network's webhooks.
    pub(crate) word_faults: Vec<&'static str>,
    /// When the customer calls it off.
    pub(crate) cancel: Option<Moment>,
    /// What else is told of the payment.
    pub(crate) strays: Vec<Stray>,
    /// Money that comes after an end without a sale.
    pub(crate) late: Option<Late>,
    /// What comes after a sale.
    pub(crate) after: After,
    /// The first request is sent once more in the end.
    pub(crate) asks_again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    Unsaid,
    Right,
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bank {
    Approve,
    Decline,
    /// Never answered.
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    Never,
    Before,
    After,
    /// With an outcome that is not the bank's.
    Lying,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    BeforePaying,
    Authorizing,
    AtBank,
    Capturing,
    Sold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stray {
    /// Well signed, of an attempt that is not under way.
    OtherAttempt,
    /// Well signed, several times at once.
    ManyTimes,
    /// Signed by somebody else.
    Forged,
    /// Signed long ago.
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    SetAside,
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    RefundPart,
    RefundAll,
    RefundInTwo,
    CallOff {
        restock: bool,
    },
    Ship {
        parcels: usize,
        delivered: bool,
        refund: bool,
    },
    /// Called off while it is being sent, so many milliseconds after that began.
    CallOffAgainstShip {
        after_ms: u64,
    },
}

impl Plan {
    /// The life of that number.
    pub(crate) fn drawn(seed: u64, number: u64) -> Self {
        let mut rng = Rng::with_seed(Rng::with_seed(seed).u64(..) ^ number);
        let rng = &mut rng;
        let lines = lines(rng);
        let interactive = percent(rng, 45);
        let agreed = match rng.u8(..100) {
            0..3 => Agreed::Wrong,
            3..20 => Agreed::Right,
            _ => Agreed::Unsaid,
        };
        let mut plan = Self {
            number,
            lines,
            agreed,
            interactive,
            cards: cards(rng, interactive),
            bank: pick(rng, &[Bank::Approve, Bank::Approve, Bank::Decline, Bank::Ignore]),
            back: pick(rng, &[Back::Never, Back::Before, Back::After, Back::Lying]),
            wait: pick(rng, &WAITS),
            at_once: if percent(rng, 20) { rng.usize(2..5) } else { 1 },
            faults: faults(rng),
            word_faults: word_faults(rng),
            cancel: None,
            strays: strays(rng),
            late: percent(rng, 30).then(|| pick(rng, &[Late::SetAside, Late::Taken])),
            after: after(rng),
            asks_again: percent(rng, 30),
        };
        if percent(rng, 22) {
            plan.call_off(rng);
        }
        plan
    }

    /// Draws a moment to be called off at, and sees to it that there is one.
    fn call_off(&mut self, rng: &mut Rng) {
        let moment = pick(
            rng,
            &[
                Moment::BeforePaying,
                Moment::Authorizing,
                Moment::AtBank,
                Moment::Capturing,
                Moment::Sold,
            ],
        );
        self.cancel = Some(moment);
        let slowly = |operation| vec![(operation, "slow", LONGER_THAN_A_TASK_MS)];
        match moment {
            Moment::BeforePaying => {
                self.interactive = true;
                self.cards.clear();
            }
            Moment::Authorizing => {
                self.cards = vec![pick(rng, &GOOD_CARDS)];
                self.faults = slowly("confirm");
            }
            Moment::AtBank => {
                self.cards = vec![pick(rng, &BANK_CARDS)];
                self.bank = Bank::Ignore;
            }
            Moment::Capturing => {
                self.cards = vec![pick(rng, &GOOD_CARDS)];
                self.faults = slowly("capture");
            }
            Moment::Sold => self.cards = vec![pick(rng, &GOOD_CARDS)],
        }
        if percent(rng, 50) {
            self.faults.push(("cancel", pick(rng, &FAULTS), delay(rng)));
        }
    }

    /// What the cart costs.
    pub(crate) fn total(&self) -> i64 {
        self.lines.iter().map(|(sku, units)| price(sku) * units).sum()
    }
}

/// Every SKU, and whether there is enough of it.
pub(crate) fn skus() -> impl Iterator<Item = (String, bool)> {
    let plenty = (0..PLENTY).map(|number| (format!("LIFE-{number}"), true));
    plenty.chain((0..RARE).map(|number| (format!("RARE-{number}"), false)))
}

/// What one of it costs.
pub(crate) fn price(sku: &str) -> i64 {
    let number = sku.bytes().next_back().map_or(0, |digit| i64::from(digit - b'0'));
    499 + 250 * number
}

fn lines(rng: &mut Rng) -> Vec<(String, i64)> {
    if percent(rng, WANTING_RARE_PERCENT) {
        return vec![(format!("RARE-{}", rng.u64(..RARE)), rng.i64(1..=2))];
    }
    let first = rng.u64(..PLENTY);
    let mut lines = vec![(format!("LIFE-{first}"), rng.i64(1..=3))];
    if percent(rng, 30) {
        lines.push((format!("LIFE-{}", (first + 1) % PLENTY), rng.i64(1..=2)));
    }
    lines
}

fn cards(rng: &mut Rng, interactive: bool) -> Vec<&'static str> {
    let mut cards = Vec::new();
    match rng.u8(..100) {
        0..55 => cards.push(pick(rng, &GOOD_CARDS)),
        55..70 => cards.push(pick(rng, &BAD_CARDS)),
        70..74 => cards.push(UNKNOWN_CARD),
        // Lets its hold run out.
        74..80 if interactive => return cards,
        _ => cards.push(pick(rng, &BANK_CARDS)),
    }
    if interactive && percent(rng, 70) {
        cards.push(pick(rng, &GOOD_CARDS));
    }
    cards
}

fn faults(rng: &mut Rng) -> Vec<(&'static str, &'static str, u64)> {
    let mut faults = Vec::new();
    if percent(rng, 35) {
        for _ in 0..rng.u8(1..=2) {
            let operation = pick(rng, &OPERATIONS);
            faults.push((operation, pick(rng, &FAULTS), delay(rng)));
        }
    }
    if percent(rng, 4) {
        faults.push((pick(rng, &["capture", "refund"]), "refuse", 0));
    }
    faults
}

/// Mostly shorter than a step's quick try, sometimes longer.
fn delay(rng: &mut Rng) -> u64 {
    pick(rng, &[200, 400, 800, 1500, 1500, 4500])
}

fn word_faults(rng: &mut Rng) -> Vec<&'static str> {
    if !percent(rng, 40) {
        return Vec::new();
    }
    (0..rng.u8(1..=4)).map(|_| pick(rng, &WORD_FAULTS)).collect()
}

fn strays(rng: &mut Rng) -> Vec<Stray> {
    const ALL: [Stray; 4] = [Stray::OtherAttempt, Stray::ManyTimes, Stray::Forged, Stray::Stale];
    if !percent(rng, 15) {
        return Vec::new();
    }
    (0..rng.u8(1..=2)).map(|_| pick(rng, &ALL)).collect()
}

fn after(rng: &mut Rng) -> After {
    match rng.u8(..100) {
        0..35 => After::Nothing,
        35..43 => After::RefundPart,
        43..48 => After::RefundAll,
        48..53 => After::RefundInTwo,
        53..63 => After::CallOff { restock: percent(rng, 50) },
        63..93 => After::Ship {
            parcels: rng.usize(1..=2),
            delivered: percent(rng, 80),
            refund: percent(rng, 20),
        },
        _ => After::CallOffAgainstShip { after_ms: pick(rng, &[0, 0, 50, 150, 400]) },
    }
}

fn percent(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(..100) < percent
}

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}
