//! How faults of deliveries are ordered and chosen.

use super::*;

fn order(kind: &str, event_type: Option<&str>, payment_id: Option<&str>) -> DeliveryOrder {
    DeliveryOrder {
        kind: kind.to_owned(),
        delay_ms: None,
        times: 1,
        event_type: event_type.map(str::to_owned),
        payment_id: payment_id.map(str::to_owned),
    }
}

#[test]
fn an_armed_fault_befalls_only_what_it_names_and_once() {
    let faults = DeliveryFaults::new(None, 0);
    faults.arm(order("lose", Some("payment_intent.succeeded"), Some("pay_1"))).unwrap();
    assert_eq!(faults.fate(1, "payment_intent.succeeded", Some("pay_2")), None);
    assert_eq!(faults.fate(2, "payment_intent.created", Some("pay_1")), None);
    let fate = faults.fate(3, "payment_intent.succeeded", Some("pay_1")).unwrap();
    assert_eq!(fate.kind, DeliveryFault::Lose);
    assert_eq!(faults.fate(4, "payment_intent.succeeded", Some("pay_1")), None);
    assert!(faults.armed().is_empty());
}

#[test]
fn senseless_orders_are_refused() {
    let faults = DeliveryFaults::new(None, 0);
    assert!(faults.arm(order("melt", None, None)).is_err());
    assert!(faults.arm(order("lose", Some("payment_intent.melted"), None)).is_err());
    let never = DeliveryOrder { times: 0, ..order("lose", None, None) };
    assert_eq!(faults.arm(never), Err(Unusable::Times));
    let late = DeliveryOrder { delay_ms: Some(DELAY_MS_MAX + 1), ..order("delay", None, None) };
    assert!(faults.arm(late).is_err());
}

#[test]
fn a_seed_decides_the_same_way_every_time() {
    let fates = |seed| {
        let faults = DeliveryFaults::new(Some(seed), 30);
        (0..1_000).map(|number| faults.fate(number, "refund.created", None)).collect::<Vec<_>>()
    };
    assert_eq!(fates(7), fates(7));
    assert_ne!(fates(7), fates(8));
    let struck = fates(7).iter().flatten().count();
    assert!((250..350).contains(&struck), "{struck} of 1000 at 30 percent");
    for kind in DeliveryFault::ALL {
        assert!(fates(7).iter().flatten().any(|fate| fate.kind == *kind), "{kind:?}");
    }
}
