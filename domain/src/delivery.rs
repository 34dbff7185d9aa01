//! How long a delivery is tried: again after a pause that grows, and not for ever.

use std::time::Duration;

/// The pause after the first try. Each further one is twice as long.
pub const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
pub const PAUSE_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// What could not be delivered for so long is left to people.
pub const TRIED_MAX: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// The most tries, unless the shop is told otherwise. With the pauses above, three days' worth.
pub const TRIES_MAX: u32 = 50;

/// The doublings after which the pause is at its longest anyway.
const DOUBLINGS_MAX: u32 = 20;

/// How long to wait after so many failed tries within so much time; `None` to give up.
pub fn next_pause(tries: u32, tried_for: Duration, tries_max: u32) -> Option<Duration> {
    let doublings = tries.saturating_sub(1).min(DOUBLINGS_MAX);
    let pause = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    (tries < tries_max && tried_for.saturating_add(pause) <= TRIED_MAX).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_hours() {
        let pauses = [1, 2, 3, 13, 14, 15, 40]
            .map(|tries| next_pause(tries, Duration::ZERO, TRIES_MAX).expect("another try"));
        let expected = [1, 2, 4, 4096, 7200, 7200, 7200].map(Duration::from_secs);
        assert_eq!(pauses, expected);
    }

    #[test]
    fn nobody_is_tried_for_more_than_three_days_or_more_often_than_allowed() {
        let mut tried_for = Duration::ZERO;
        let mut tries = 1;
        while let Some(pause) = next_pause(tries, tried_for, TRIES_MAX) {
            tried_for += pause;
            tries += 1;
        }
        assert!(tried_for <= TRIED_MAX && tried_for + PAUSE_MAX > TRIED_MAX, "{tried_for:?}");
        assert_eq!(next_pause(3, Duration::ZERO, 3), None);
        assert_eq!(next_pause(0, TRIED_MAX, 3), None);
    }
}
