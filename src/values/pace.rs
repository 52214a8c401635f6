//! How long to gather what comes all the time before it is worked off together.

use std::time::Duration;

/// After how much time without news nothing comes all the time any more.
const CALM: Duration = Duration::from_millis(500);

/// Pauses between turns of work that is done anew for everything, however little has changed.
///
/// What changes alone is worked off at once. While one change comes after the other, each pause is twice the one before,
/// so that thousands of changes do not take thousands of turns.
#[derive(Clone, Debug)]
pub struct Pace {
    first: u32,
    most: u32,
    longest: Duration,
    pause: Duration,
}

impl Pace {
    /// Pauses are between `first` and `most` times what a turn took, and no longer than `longest`.
    pub const fn new(first: u32, most: u32, longest: Duration) -> Self {
        Self { first, most, longest, pause: Duration::ZERO }
    }

    /// The pause after a turn that took so long, and for which so much time had been waited after the last pause.
    pub fn pause(&mut self, waited: Duration, took: Duration) -> Duration {
        let doubled = if waited < CALM { self.pause.saturating_mul(2) } else { Duration::ZERO };
        let (first, most) = (took.saturating_mul(self.first), took.saturating_mul(self.most));
        self.pause = doubled.clamp(first, most.max(first)).min(self.longest);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(10);

    fn pauses(pace: &mut Pace, waited: Duration, turns: usize) -> Vec<u128> {
        (0..turns).map(|_| pace.pause(waited, TURN).as_millis()).collect()
    }

    #[test]
    fn what_comes_all_the_time_is_gathered_longer_and_longer_and_what_comes_alone_is_not() {
        let mut pace = Pace::new(1, 12, Duration::from_secs(1));
        assert_eq!(pauses(&mut pace, Duration::ZERO, 6), [10, 20, 40, 80, 120, 120]);
        assert_eq!(pauses(&mut pace, CALM, 2), [10, 10]);
        assert_eq!(pauses(&mut pace, Duration::ZERO, 2), [20, 40]);
    }

    #[test]
    fn no_pause_is_longer_than_people_wait() {
        let mut pace = Pace::new(3, 1000, Duration::from_millis(25));
        assert_eq!(pauses(&mut pace, Duration::ZERO, 3), [25, 25, 25]);
    }
}
