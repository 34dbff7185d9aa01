//! Faults of deliveries: how they are ordered, and which one, if any, befalls a delivery. What it then
//! does is the courier's.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{
    event::EventKind,
    fault::{Unusable, scramble},
    words::words,
};

const DELAY_MS_MAX: u64 = 600_000;
const DELAY_MS_DEFAULT: u64 = 5_000;
const ARMED_MAX: usize = 1_000;
const TIMES_MAX: u32 = 100_000;

words! {
    /// What goes wrong with a delivery.
    enum DeliveryFault {
        // Delivered several times.
        Duplicate = "duplicate",
        Delay = "delay",
        // Held back until a later event of the same payment was delivered.
        Reorder = "reorder",
        // Never delivered; the event is still listed.
        Lose = "lose",
        // The first try bears a wrong signature.
        Forge = "forge",
        // The first try bears a good signature of long ago.
        Stale = "stale",
    }
}

/// An order to `POST /webhooks/faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryOrder {
    kind: String,
    delay_ms: Option<u64>,
    #[serde(default = "once")]
    times: u32,
    event_type: Option<String>,
    payment_id: Option<String>,
}

fn once() -> u32 {
    1
}

/// A fault that waits for its deliveries.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Armed {
    kind: DeliveryFault,
    delay_ms: Option<u64>,
    times: u32,
    event_type: Option<EventKind>,
    payment_id: Option<String>,
}

/// What befalls one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) kind: DeliveryFault,
    /// How long it is held at most, if it is held.
    pub(crate) delay_ms: u64,
}

/// Where the faults of deliveries come from.
#[derive(Debug)]
pub(crate) struct DeliveryFaults {
    armed: Mutex<Vec<Armed>>,
    seed: Option<u64>,
    rate_percent: u8,
}

impl DeliveryFaults {
    pub(crate) fn new(seed: Option<u64>, rate_percent: u8) -> Self {
        Self { armed: Mutex::default(), seed, rate_percent }
    }

    pub(crate) fn arm(&self, order: DeliveryOrder) -> Result<(), Unusable> {
        let kind = order.kind.parse()?;
        let event_type = order.event_type.map(|text| text.parse()).transpose()?;
        if let Some(ms) = order.delay_ms.filter(|ms| *ms > DELAY_MS_MAX) {
            return Err(Unusable::Delay(ms.to_string()));
        }
        if !(1..=TIMES_MAX).contains(&order.times) {
            return Err(Unusable::Times);
        }
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if armed.len() == ARMED_MAX {
            return Err(Unusable::TooMany);
        }
        let DeliveryOrder { delay_ms, times, payment_id, .. } = order;
        armed.push(Armed { kind, delay_ms, times, event_type, payment_id });
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

    /// What befalls a delivery that is due for the first time. Its number in the queue is what the
    /// seed decides by, so that a restart changes nobody's fate.
    pub(crate) fn fate(
        &self,
        number: i64,
        event_type: &str,
        payment_id: Option<&str>,
    ) -> Option<Fate> {
        self.take_armed(event_type, payment_id).or_else(|| {
            let kind = seeded(self.seed?, self.rate_percent, number.unsigned_abs())?;
            Some(Fate { kind, delay_ms: DELAY_MS_DEFAULT })
        })
    }

    /// The first armed fault that fits, used up by one.
    fn take_armed(&self, event_type: &str, payment_id: Option<&str>) -> Option<Fate> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let index = armed.iter().position(|armed| {
            armed.event_type.is_none_or(|kind| kind.as_str() == event_type)
                && (armed.payment_id.is_none() || armed.payment_id.as_deref() == payment_id)
        })?;
        let found = &mut armed[index];
        let fate = Fate { kind: found.kind, delay_ms: found.delay_ms.unwrap_or(DELAY_MS_DEFAULT) };
        found.times -= 1;
        if found.times == 0 {
            armed.remove(index);
        }
        Some(fate)
    }
}

fn seeded(seed: u64, rate_percent: u8, number: u64) -> Option<DeliveryFault> {
    let random = scramble(seed ^ scramble(number));
    let kinds = DeliveryFault::ALL;
    let count = u64::try_from(kinds.len()).expect("a handful of kinds fits");
    let index = usize::try_from((random >> 32) % count).expect("an index of kinds fits");
    (random % 100 < u64::from(rate_percent)).then_some(kinds[index])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests;
