//! What really happened in a run, counted: so that it can be read, and so that a run cannot silently stop
//! doing something that it is there for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::Mutex,
};

/// What must happen in ten thousand lives, and how often at least: a fraction of what is to be expected.
const LEAST: [(&str, u64); 57] = [
    ("end: sold", 3000),
    ("end: declined", 300),
    ("end: sold out", 100),
    ("end: called off", 300),
    ("end: hold ran out", 300),
    ("end: quote changed", 50),
    ("client: asked again after a broken connection", 50),
    ("client: asked again after 503", 50),
    ("client: sent the same request at once", 500),
    ("client: sent the same request in the end", 500),
    ("card: tried a second one", 300),
    ("bank: approve", 300),
    ("bank: decline", 100),
    ("bank: never answered", 100),
    ("browser: came back before the bank was answered", 50),
    ("browser: came back after it", 50),
    ("browser: came back lying", 50),
    ("called off before paying: taken in", 50),
    ("called off while authorizing: taken in", 50),
    ("called off at the bank: taken in", 50),
    ("called off while the money is taken: refused", 50),
    ("called off after the sale: refused", 50),
    ("word: of another attempt", 50),
    ("word: many times at once", 50),
    ("word: forged", 50),
    ("word: stale", 50),
    ("late money: let go", 50),
    ("late money: paid back", 50),
    ("refund: a part", 50),
    ("refund: all", 50),
    ("refund: refused", 1),
    ("order: called off", 100),
    ("order: called off before it was sent", 10),
    ("order: sent before it was called off", 10),
    ("order: put on the shelf again", 50),
    ("order: shipped", 50),
    ("order: delivered", 300),
    ("order: refunded in part after its delivery", 20),
    ("parcel: one", 300),
    ("parcel: two", 200),
    ("carrier: told before there was a parcel", 50),
    ("carrier: told several times at once", 50),
    ("carrier: told out of order", 50),
    ("carrier: forged", 50),
    ("killed: worker", 50),
    ("killed: API", 10),
    ("killed: card network", 10),
    ("webhook: duplicate", 100),
    ("webhook: delay", 100),
    ("webhook: reorder", 100),
    ("webhook: lose", 100),
    ("webhook: forge", 100),
    ("webhook: stale", 100),
    ("network: refuse strikes capture", 20),
    ("network: refuse strikes refund", 1),
    ("network: slow strikes capture", 100),
    ("network: slow strikes confirm", 100),
];
/// What is lost, breaks or comes late between the shop and the card network, each with each.
const STRUCK: [&str; 6] = ["create", "confirm", "capture", "cancel", "refund", "a read"];
const STRUCK_LEAST: u64 = 10;

/// Counts of things by their names.
#[derive(Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub(crate) fn note(&self, what: impl Into<String>) {
        *self.counts.lock().expect("unpoisoned").entry(what.into()).or_default() += 1;
    }

    /// Counts the faults that struck by what the card network wrote about them.
    pub(crate) fn read(&self, log: &Path) {
        let log = BufReader::new(File::open(log).expect("the card network's log"));
        for line in log.lines() {
            let line = line.expect("a line of a log");
            let Some((_, struck)) = line.split_once(" fault ") else { continue };
            let words: Vec<&str> = struck.split_whitespace().take(3).collect();
            match words[..] {
                [kind, "strikes", "a"] => self.note(format!("network: {kind} strikes a read")),
                [kind, "strikes", operation] => {
                    self.note(format!("network: {kind} strikes {operation}"));
                }
                [kind, "befalls", _] => self.note(format!("webhook: {kind}")),
                _ => {}
            }
        }
    }

    pub(crate) fn summary(&self) -> String {
        let counts = self.counts.lock().expect("unpoisoned");
        let lines: Vec<String> =
            counts.iter().map(|(what, count)| format!("  {count:>6}  {what}")).collect();
        lines.join("\n")
    }

    /// What did not happen as often as it must in so many lives.
    pub(crate) fn missing(&self, lives: u64) -> Vec<String> {
        let counts = self.counts.lock().expect("unpoisoned");
        let struck = STRUCK.iter().flat_map(|operation| {
            super::plan::FAULTS
                .iter()
                .map(move |kind| (format!("network: {kind} strikes {operation}"), STRUCK_LEAST))
        });
        let least = LEAST.iter().map(|(what, least)| ((*what).to_owned(), *least));
        least
            .chain(struck)
            .filter_map(|(what, least)| {
                let least = (least * lives / 10_000).max(1);
                let count = counts.get(&what).copied().unwrap_or_default();
                (count < least).then(|| format!("{what}: {count}, and not {least}"))
            })
            .collect()
    }
}
