//! A condition over the last day, as a small picture: a band, coloured and patterned by what held when.

use jiff::{SignedDuration, Timestamp};

use super::history::Change;
use super::pages::moment;
use super::state::State;
use crate::api::ConditionStatus;

/// The width of the picture, in percent: it is as wide as there is room, and its text keeps its size.
const WIDTH: f64 = 100.0;
/// The time that it shows.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);
/// Changes that are told in words.
const TOLD: usize = 8;

/// A band of a condition's past.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows, for whoever does not see it.
    pub title: String,
    /// The parts, oldest first.
    pub parts: Vec<Part>,
    /// The latest changes, newest first.
    pub changes: Vec<Told>,
    /// Where the hours stand.
    pub ticks: Vec<(f64, String)>,
}

/// A part of the band.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it begins.
    pub start: f64,
    /// How wide it is.
    pub width: f64,
    /// What held.
    pub state: State,
}

/// A change in words.
#[derive(Clone, Debug)]
pub struct Told {
    /// When.
    pub at: String,
    /// What it became.
    pub state: State,
    /// The reason.
    pub reason: String,
    /// The message.
    pub message: String,
}

impl Plot {
    /// The last day of a track that ends at `now`.
    pub fn of<'track>(track: impl IntoIterator<Item = &'track Change>, title: &str, now: Timestamp) -> Self {
        let changes: Vec<&Change> = track.into_iter().collect();
        let begin = now.saturating_sub(SHOWN).unwrap_or(Timestamp::MIN);
        let ends = changes.iter().skip(1).map(|next| next.at).chain([now]);
        let parts = changes.iter().zip(ends).filter(|(_, end)| *end > begin).map(|(change, end)| {
            let start = position(change.at.max(begin), begin);
            Part { start, width: (position(end, begin) - start).max(0.3), state: state(change.status) }
        });
        let told = changes.iter().rev().take(TOLD).map(|change| Told {
            at: moment(change.at),
            state: state(change.status),
            reason: change.reason.clone(),
            message: change.message.clone(),
        });
        let last = changes.last().map_or("nothing is known yet", |last| last.reason.as_str());
        Self {
            title: format!("{title}, last 24 hours; now: {last}"),
            parts: parts.collect(),
            changes: told.collect(),
            ticks: ticks(begin, now),
        }
    }
}

const fn state(status: ConditionStatus) -> State {
    match status {
        ConditionStatus::True => State::Ready,
        ConditionStatus::False => State::Failing,
        ConditionStatus::Unknown => State::Progress,
    }
}

fn position(at: Timestamp, begin: Timestamp) -> f64 {
    WIDTH * (at.duration_since(begin).as_secs_f64() / SHOWN.as_secs_f64()).clamp(0.0, 1.0)
}

/// Every sixth full hour.
fn ticks(begin: Timestamp, now: Timestamp) -> Vec<(f64, String)> {
    const STEP: i64 = 6 * 60 * 60;
    let first = begin.as_second().div_euclid(STEP) + 1;
    (first..first + 4)
        .filter_map(|number| Timestamp::from_second(number * STEP).ok())
        .filter(|at| *at <= now)
        .map(|at| (position(at, begin), at.strftime("%H:%M").to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at: &str, status: ConditionStatus) -> Change {
        Change { at: at.parse().unwrap(), status, reason: "Because".into(), message: String::new() }
    }

    #[test]
    fn the_band_is_the_last_day_in_parts_that_meet() {
        let track = [
            change("2026-03-01T06:00:00Z", ConditionStatus::True),
            change("2026-03-02T00:00:00Z", ConditionStatus::False),
            change("2026-03-02T06:00:00Z", ConditionStatus::True),
        ];
        let plot = Plot::of(&track, "Healthy", "2026-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(
            plot.parts,
            [
                Part { start: 0.0, width: 50.0, state: State::Ready },
                Part { start: 50.0, width: 25.0, state: State::Failing },
                Part { start: 75.0, width: 25.0, state: State::Ready },
            ]
        );
        let ticks: Vec<_> = plot.ticks.iter().map(|(at, text)| (at.round(), text.as_str())).collect();
        assert_eq!(ticks, [(25.0, "18:00"), (50.0, "00:00"), (75.0, "06:00"), (100.0, "12:00")]);
        assert_eq!(plot.title, "Healthy, last 24 hours; now: Because");
    }

    #[test]
    fn what_ended_before_is_not_drawn() {
        let track = [
            change("2026-02-01T00:00:00Z", ConditionStatus::False),
            change("2026-02-02T00:00:00Z", ConditionStatus::True),
        ];
        let plot = Plot::of(&track, "Healthy", "2026-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(plot.parts, [Part { start: 0.0, width: 100.0, state: State::Ready }]);
    }
}
