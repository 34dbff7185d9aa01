//! Where a fulfilment stands, for its operator and the engine's own screens. It is a picture of the
//! books, which are what counts, and is carried from one run of the workflow to the next.

use std::{collections::BTreeMap, fmt::Write as _};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::{Carrier, OrderState, ShipmentId, ShipmentState, TrackingNumber};
use serde::{Deserialize, Serialize};
use temporalio_common::search_attributes::{
    SearchAttributeKey, SearchAttributeUpdate, SearchAttributes,
};

use super::{FulfilmentInput, FulfilmentTiming};
use crate::contract::shipping::Parcel;

const STATE: SearchAttributeKey<String> = SearchAttributeKey::<String>::keyword("FulfilmentState");

/// Where a fulfilment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FulfilmentStatus {
    /// Where the order stands.
    pub order: OrderState,
    /// Its shipments.
    pub shipments: BTreeMap<ShipmentId, ShipmentNote>,
    /// Whether people were told that it is not shipped in time.
    pub late: bool,
    /// What went wrong in a way that needs a person.
    pub trouble: Option<String>,
}

/// One shipment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentNote {
    /// Who carries it.
    pub carrier: Carrier,
    /// The carrier's name for it.
    pub tracking_number: TrackingNumber,
    /// Where it stands.
    pub state: ShipmentState,
    /// When the fulfilment learned of that.
    pub since: DateTime<Utc>,
    /// Whether people were told that it does not arrive.
    pub late: bool,
}

/// Something that has not happened by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) at: DateTime<Utc>,
    /// The shipment that does not arrive; none where the order is not shipped.
    pub(super) shipment: Option<ShipmentId>,
}

impl Default for FulfilmentStatus {
    fn default() -> Self {
        Self { order: OrderState::Paid, shipments: BTreeMap::new(), late: false, trouble: None }
    }
}

impl FulfilmentStatus {
    /// Takes in what a step found. Steps may end in another order than they read the books in, so
    /// nothing goes back.
    pub(super) fn learn(&mut self, parcel: Parcel, order: OrderState, now: DateTime<Utc>) {
        let note = self.shipments.entry(parcel.id).or_insert_with(|| ShipmentNote {
            carrier: parcel.carrier,
            tracking_number: parcel.tracking_number,
            state: parcel.state,
            since: now,
            late: false,
        });
        if parcel.state > note.state {
            note.state = parcel.state;
            note.since = now;
        }
        self.order = later(self.order, order);
    }

    /// Whether nothing more can happen.
    pub(super) fn finished(&self) -> bool {
        let on_its_way = |note: &ShipmentNote| {
            matches!(note.state, ShipmentState::Created | ShipmentState::Dispatched)
        };
        match self.order {
            OrderState::Delivered => true,
            OrderState::Refunded | OrderState::Cancelled => {
                !self.shipments.values().any(on_its_way)
            }
            OrderState::Pending
            | OrderState::Placed
            | OrderState::Paid
            | OrderState::PartiallyShipped
            | OrderState::Shipped => false,
        }
    }

    /// What people would have to be told first if nothing happened from now on.
    pub(super) fn next_alarm(
        &self,
        opened_at: DateTime<Utc>,
        timing: &FulfilmentTiming,
    ) -> Option<Alarm> {
        let unshipped = !self.late && self.unshipped();
        let order = unshipped
            .then(|| Alarm { at: opened_at + milliseconds(timing.ship_within_ms), shipment: None });
        let deliver_within = milliseconds(timing.deliver_within_ms);
        let shipments = self
            .shipments
            .iter()
            .filter(|(_, note)| note.state == ShipmentState::Dispatched && !note.late)
            .map(|(id, note)| Alarm { at: note.since + deliver_within, shipment: Some(*id) });
        order.into_iter().chain(shipments).min_by_key(|alarm| alarm.at)
    }

    /// Remembers that people were told.
    pub(super) fn told_of(&mut self, alarm: Alarm) {
        match alarm.shipment {
            None => self.late = true,
            Some(id) => {
                if let Some(note) = self.shipments.get_mut(&id) {
                    note.late = true;
                }
            }
        }
    }

    fn unshipped(&self) -> bool {
        matches!(self.order, OrderState::Paid | OrderState::PartiallyShipped)
    }

    /// What needs a person, while something does.
    pub fn attention(&self) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        if self.late && self.unshipped() {
            return Some("not everything is shipped, and it should be".to_owned());
        }
        self.shipments
            .iter()
            .find(|(_, note)| note.late && note.state == ShipmentState::Dispatched)
            .map(|(id, _)| format!("{id} should have arrived"))
    }

    /// An upsert is an event, so the attribute is first written when there is something to look for.
    pub(super) fn search_attributes(
        &self,
        previous: &SearchAttributes,
    ) -> Vec<SearchAttributeUpdate> {
        let before = previous.get(&STATE);
        let now = match (self.attention(), &before) {
            (Some(_), _) => "needs_attention",
            (None, None) => return Vec::new(),
            (None, Some(_)) if self.finished() => "done",
            (None, Some(_)) => "in_progress",
        };
        if before.as_deref() == Some(now) {
            return Vec::new();
        }
        vec![STATE.value_set(now.to_owned())]
    }

    /// The page an operator reads in the engine's web UI.
    pub(super) fn to_markdown(&self, input: &FulfilmentInput) -> String {
        let order_id = input.order_id;
        if self.shipments.is_empty() && self.attention().is_none() {
            return format!("{order_id} is {} and waits to be shipped.", self.order.as_str());
        }
        let attention = self.attention().unwrap_or_else(|| "nothing".to_owned());
        let mut page = format!(
            "{order_id} is **{}**. Needs attention: {attention}.\n\n\
             | shipment | carrier | tracking number | state | since |\n|---|---|---|---|---|\n",
            self.order.as_str(),
        );
        for (id, note) in &self.shipments {
            let ShipmentNote { carrier, tracking_number, state, since, .. } = note;
            let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
            let state = state.as_str();
            writeln!(page, "| {id} | {carrier} | {tracking_number} | {state} | {since} |")
                .expect("a string takes every line");
        }
        page
    }
}

fn later(one: OrderState, other: OrderState) -> OrderState {
    let rank = |state| OrderState::ALL.iter().position(|s| *s == state);
    if rank(other) > rank(one) { other } else { one }
}

fn milliseconds(ms: u64) -> TimeDelta {
    // A bound, since a time that is too far away has no date.
    TimeDelta::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX).min(super::WITHIN_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ShipmentId {
        "shp_00000000000000000000000000".parse().expect("an id")
    }

    fn parcel(state: ShipmentState) -> Parcel {
        Parcel {
            id: id(),
            carrier: "dhl".parse().expect("a carrier"),
            tracking_number: "T-1".parse().expect("a number"),
            state,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    #[test]
    fn what_is_learned_late_changes_nothing() {
        let mut status = FulfilmentStatus::default();
        status.learn(parcel(ShipmentState::Delivered), OrderState::Delivered, at(1));
        let before = status.clone();

        status.learn(parcel(ShipmentState::Dispatched), OrderState::Shipped, at(2));

        assert_eq!(status, before);
        assert!(status.finished());
    }

    #[test]
    fn people_are_told_once_that_an_order_is_not_shipped_and_once_that_it_does_not_arrive() {
        let timing = FulfilmentTiming {
            ship_within_ms: 5000,
            deliver_within_ms: 9000,
            ..FulfilmentTiming::default()
        };
        let mut status = FulfilmentStatus::default();
        let unshipped = Alarm { at: at(5), shipment: None };
        assert_eq!(status.next_alarm(at(0), &timing), Some(unshipped));
        status.told_of(unshipped);
        assert_eq!(status.next_alarm(at(0), &timing), None);
        assert!(status.attention().is_some());

        status.learn(parcel(ShipmentState::Dispatched), OrderState::Shipped, at(7));
        assert_eq!(status.attention(), None);
        let lost = Alarm { at: at(16), shipment: Some(id()) };
        assert_eq!(status.next_alarm(at(0), &timing), Some(lost));
        status.told_of(lost);
        assert_eq!(status.next_alarm(at(0), &timing), None);
        assert!(status.attention().is_some());
    }
}
