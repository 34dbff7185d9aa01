//! Faults on demand: how they are written, and which one, if any, a request meets. What a fault then
//! does to the request is in `execute`.

use std::{
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::words::{UnknownWord, words};

const DELAY_MS_MAX: u64 = 600_000;
const SLOW_MS_DEFAULT: u64 = 2_000;
const ARMED_MAX: usize = 1_000;
const TIMES_MAX: u32 = 100_000;

words! {
    /// What a fault can strike. A create that also confirms is both.
    enum Operation {
        Create = "create",
        Confirm = "confirm",
        Capture = "capture",
        Cancel = "cancel",
        Refund = "refund",
        Retrieve = "retrieve",
    }
}

words! {
    /// What goes wrong.
    enum Kind {
        TimeoutBefore = "timeout_before",
        TimeoutAfter = "timeout_after",
        ErrorBefore = "error_before",
        ErrorAfter = "error_after",
        Slow = "slow",
        Refuse = "refuse",
    }
}

impl Kind {
    /// Faults of the way there and back. They can also strike a replayed answer; the others replace
    /// an execution, and a replay executes nothing.
    fn on_the_wire(self) -> bool {
        match self {
            Self::TimeoutBefore | Self::TimeoutAfter | Self::Slow => true,
            Self::ErrorBefore | Self::ErrorAfter | Self::Refuse => false,
        }
    }

    fn possible_for(self, operation: Operation) -> bool {
        self != Self::Refuse
            || match operation {
                Operation::Create | Operation::Confirm | Operation::Capture | Operation::Refund => {
                    true
                }
                Operation::Cancel | Operation::Retrieve => false,
            }
    }
}

/// A fault as written: `KIND` or `KIND:ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    delay_ms: Option<u64>,
}

/// Why a fault cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unusable {
    #[error("unknown word in a fault: {0}")]
    Word(#[from] UnknownWord),
    #[error("\"{0}\" is not a delay of 0 to {DELAY_MS_MAX} ms")]
    Delay(String),
    #[error("\"{0}\" is not OPERATION=KIND[:ms]")]
    Shape(String),
    #[error("{} cannot be refused", .0.as_str())]
    Refusal(Operation),
    #[error("times must be 1 to {TIMES_MAX}")]
    Times,
    #[error("{ARMED_MAX} faults are armed already")]
    TooMany,
}

impl FromStr for Fault {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let (kind, delay) = match text.trim().split_once(':') {
            Some((kind, delay)) => (kind, Some(delay)),
            None => (text.trim(), None),
        };
        let delay_ms = delay
            .map(|text| text.parse().map_err(|_| Unusable::Delay(text.to_owned())))
            .transpose()?;
        Self::new(kind.parse()?, delay_ms)
    }
}

impl Fault {
    pub(crate) fn new(kind: Kind, delay_ms: Option<u64>) -> Result<Self, Unusable> {
        match delay_ms {
            Some(ms) if ms > DELAY_MS_MAX => Err(Unusable::Delay(ms.to_string())),
            Some(_) | None => Ok(Self { kind, delay_ms }),
        }
    }

    /// How long to wait or hold, given the network's own patience for lost connections.
    pub(crate) fn delay_ms(self, hold_ms: u64) -> u64 {
        let default_ms = if self.kind == Kind::Slow { SLOW_MS_DEFAULT } else { hold_ms };
        self.delay_ms.unwrap_or(default_ms)
    }

    pub(crate) fn possible_for(self, operations: &[Operation]) -> Result<Self, Unusable> {
        match operations.iter().find(|operation| !self.kind.possible_for(**operation)) {
            Some(&operation) => Err(Unusable::Refusal(operation)),
            None => Ok(self),
        }
    }
}

/// Faults written into an intent's metadata: `confirm=timeout_after:500,capture=slow`.
pub(crate) fn parse_plan(text: &str) -> Result<Vec<(Operation, Fault)>, Unusable> {
    text.split(',')
        .map(|part| {
            let (operation, fault) =
                part.split_once('=').ok_or_else(|| Unusable::Shape(part.to_owned()))?;
            let operation: Operation = operation.trim().parse()?;
            Ok((operation, fault.parse::<Fault>()?.possible_for(&[operation])?))
        })
        .collect()
}

/// An order to `POST /faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    operation: String,
    kind: String,
    delay_ms: Option<u64>,
    #[serde(default = "once")]
    times: u32,
    payment_id: Option<String>,
}

fn once() -> u32 {
    1
}

/// A fault that waits for its requests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Armed {
    operation: Operation,
    kind: Kind,
    delay_ms: Option<u64>,
    times: u32,
    payment_id: Option<String>,
}

/// What one request is, as far as faults care.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) operations: &'a [Operation],
    pub(crate) payment_id: Option<&'a str>,
    pub(crate) replay: bool,
}

/// Where faults come from, apart from the requests themselves.
#[derive(Debug)]
pub(crate) struct Faults {
    armed: Mutex<Vec<Armed>>,
    seed: Option<u64>,
    rate_percent: u8,
    requests: AtomicU64,
    pub(crate) hold_ms: u64,
}

impl Faults {
    pub(crate) fn new(seed: Option<u64>, rate_percent: u8, hold_ms: u64) -> Self {
        Self { armed: Mutex::default(), seed, rate_percent, requests: AtomicU64::new(0), hold_ms }
    }

    pub(crate) fn arm(&self, order: Order) -> Result<(), Unusable> {
        let operation: Operation = order.operation.parse()?;
        let kind: Kind = order.kind.parse()?;
        Fault::new(kind, order.delay_ms)?.possible_for(&[operation])?;
        if !(1..=TIMES_MAX).contains(&order.times) {
            return Err(Unusable::Times);
        }
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if armed.len() == ARMED_MAX {
            return Err(Unusable::TooMany);
        }
        armed.push(Armed {
            operation,
            kind,
            delay_ms: order.delay_ms,
            times: order.times,
            payment_id: order.payment_id,
        });
        Ok(())
    }

    /// Forgets what is armed: for one payment, or everything.
    pub(crate) fn disarm(&self, payment_id: Option<&str>) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.retain(|armed| payment_id.is_some() && armed.payment_id.as_deref() != payment_id);
    }

    pub(crate) fn armed(&self) -> Vec<Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn any_armed(&self) -> bool {
        !self.armed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The first armed fault that fits, used up by one.
    pub(crate) fn take_armed(&self, target: Target<'_>) -> Option<Fault> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let index = armed.iter().position(|armed| {
            target.operations.contains(&armed.operation)
                && (armed.payment_id.is_none() || armed.payment_id.as_deref() == target.payment_id)
                && strikes(armed.kind, target.replay)
        })?;
        let found = &mut armed[index];
        let fault = Fault { kind: found.kind, delay_ms: found.delay_ms };
        found.times -= 1;
        if found.times == 0 {
            armed.remove(index);
        }
        Some(fault)
    }

    /// The seed's verdict on the next POST. Every POST asks once, so that the n-th one always meets
    /// the same fate.
    pub(crate) fn next_seeded(&self) -> Option<Fault> {
        let seed = self.seed?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        seeded(seed, self.rate_percent, number)
    }
}

/// Whether a fault of this kind can strike at all.
pub(crate) fn strikes(kind: Kind, replay: bool) -> bool {
    !replay || kind.on_the_wire()
}

/// Refusals are left out: they are a business answer, and a seed is to disturb, not to decide.
fn seeded(seed: u64, rate_percent: u8, number: u64) -> Option<Fault> {
    const KINDS: [Kind; 5] =
        [Kind::TimeoutBefore, Kind::TimeoutAfter, Kind::ErrorBefore, Kind::ErrorAfter, Kind::Slow];
    let random = scramble(seed ^ scramble(number));
    let kind = KINDS[usize::try_from((random >> 32) % 5).expect("a number below 5 fits")];
    (random % 100 < u64::from(rate_percent)).then_some(Fault { kind, delay_ms: None })
}

/// The finalizer of `SplitMix64`: every input bit reaches every output bit.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests;
