//! How faults are written and chosen.

use super::*;

fn order(operation: &str, kind: &str, times: u32, payment_id: Option<&str>) -> Order {
    Order {
        operation: operation.to_owned(),
        kind: kind.to_owned(),
        delay_ms: None,
        times,
        payment_id: payment_id.map(str::to_owned),
    }
}

fn capture(payment_id: Option<&str>) -> Target<'_> {
    Target { operations: &[Operation::Capture], payment_id, replay: false }
}

#[test]
fn a_fault_is_a_kind_and_perhaps_a_delay() {
    let fault: Fault = "timeout_after:500".parse().unwrap();
    assert_eq!((fault.kind, fault.delay_ms(30_000)), (Kind::TimeoutAfter, 500));
    let fault: Fault = "timeout_before".parse().unwrap();
    assert_eq!(fault.delay_ms(30_000), 30_000);
    let fault: Fault = "slow".parse().unwrap();
    assert_eq!(fault.delay_ms(30_000), SLOW_MS_DEFAULT);
    for bad in ["", "nope", "slow:", "slow:-1", "slow:600001", "slow:1:2"] {
        assert!(bad.parse::<Fault>().is_err(), "{bad}");
    }
}

#[test]
fn a_plan_names_the_operation_of_each_fault() {
    let plan = parse_plan("confirm=timeout_after:500, capture=refuse").unwrap();
    assert_eq!(plan[0], (Operation::Confirm, "timeout_after:500".parse().unwrap()));
    assert_eq!(plan[1], (Operation::Capture, "refuse".parse().unwrap()));
    assert_eq!(parse_plan("slow"), Err(Unusable::Shape("slow".to_owned())));
    assert_eq!(parse_plan("cancel=refuse"), Err(Unusable::Refusal(Operation::Cancel)));
    assert!(parse_plan("pay=slow").is_err());
    assert!(parse_plan("").is_err());
}

#[test]
fn an_armed_fault_strikes_as_often_as_ordered_and_only_what_it_names() {
    let faults = Faults::new(None, 0, 30_000);
    faults.arm(order("capture", "slow", 2, Some("pay_1"))).unwrap();
    assert_eq!(faults.take_armed(capture(None)), None);
    assert_eq!(faults.take_armed(capture(Some("pay_2"))), None);
    assert!(faults.take_armed(capture(Some("pay_1"))).is_some());
    assert!(faults.take_armed(capture(Some("pay_1"))).is_some());
    assert_eq!(faults.take_armed(capture(Some("pay_1"))), None);
    assert!(!faults.any_armed());
}

#[test]
fn a_replay_leaves_faults_of_the_execution_for_the_next_request() {
    let faults = Faults::new(None, 0, 30_000);
    faults.arm(order("capture", "error_after", 1, None)).unwrap();
    let replay = Target { replay: true, ..capture(None) };
    assert_eq!(faults.take_armed(replay), None);
    assert!(faults.take_armed(capture(None)).is_some());
}

#[test]
fn senseless_orders_are_refused() {
    let faults = Faults::new(None, 0, 30_000);
    assert_eq!(faults.arm(order("capture", "slow", 0, None)), Err(Unusable::Times));
    assert!(faults.arm(order("cancel", "refuse", 1, None)).is_err());
    assert!(faults.arm(order("melt", "slow", 1, None)).is_err());
}

#[test]
fn a_seed_decides_the_same_way_every_time() {
    let fates = |seed| (0..1_000).map(|n| seeded(seed, 30, n)).collect::<Vec<_>>();
    assert_eq!(fates(7), fates(7));
    assert_ne!(fates(7), fates(8));
    let struck = fates(7).iter().flatten().count();
    assert!((250..350).contains(&struck), "{struck} of 1000 at 30 percent");
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Refuse) {
        assert!(fates(7).iter().flatten().any(|fault| fault.kind == *kind), "{kind:?}");
    }
}
