//! FHIR dates as ranges, and what the prefixes of date parameters mean (FHIR R4 §3.1.1.4.4, §3.1.1.4.5).

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};

/// A stretch of time: begins at `start`, is over at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// How a date is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    StartsAfter,
    EndsBefore,
    Approximately,
}

/// Splits a parameter's value into prefix and range; `None` where it is no FHIR date.
pub(super) fn criterion(text: &str) -> Option<(Prefix, Range)> {
    let prefixes = [
        ("eq", Prefix::Equal),
        ("ne", Prefix::NotEqual),
        ("gt", Prefix::Greater),
        ("lt", Prefix::Less),
        ("ge", Prefix::GreaterOrEqual),
        ("le", Prefix::LessOrEqual),
        ("sa", Prefix::StartsAfter),
        ("eb", Prefix::EndsBefore),
        ("ap", Prefix::Approximately),
    ];
    let (prefix, date) = prefixes
        .iter()
        .find_map(|(name, prefix)| Some((*prefix, text.strip_prefix(name)?)))
        .unwrap_or((Prefix::Equal, text));
    Some((prefix, range(date)?))
}

impl Prefix {
    /// Whether a resource's range meets the criterion.
    pub(super) fn holds(self, wanted: Range, actual: Range) -> bool {
        let contained = wanted.start <= actual.start && actual.end <= wanted.end;
        match self {
            Prefix::Equal => contained,
            Prefix::NotEqual => !contained,
            Prefix::Greater => actual.end > wanted.end,
            Prefix::Less => actual.start < wanted.start,
            Prefix::GreaterOrEqual => contained || actual.end > wanted.end,
            Prefix::LessOrEqual => contained || actual.start < wanted.start,
            Prefix::StartsAfter => actual.start >= wanted.end,
            Prefix::EndsBefore => actual.end <= wanted.start,
            Prefix::Approximately => actual.start < wanted.end && wanted.start < actual.end,
        }
    }
}

/// The range that a date, dateTime or instant stands for: as long as its precision. Without an offset it is UTC.
pub(super) fn range(text: &str) -> Option<Range> {
    if text.contains('T') {
        return moment(text);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let (first, length): (Date, Span) = match text.len() {
        4 if digits => (format!("{text}-01-01").parse().ok()?, 1.year()),
        7 if digits => (format!("{text}-01").parse().ok()?, 1.month()),
        10 if digits => (text.parse().ok()?, 1.day()),
        _ => return None,
    };
    let midnight = |date: Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp());
    Some(Range { start: midnight(first)?, end: midnight(first.checked_add(length).ok()?)? })
}

fn moment(text: &str) -> Option<Range> {
    let start = match text.parse::<Timestamp>() {
        Ok(start) => start,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    let length = match text.len() {
        16 => 1.minute(),
        _ if text.contains('.') => 1.millisecond(),
        _ => 1.second(),
    };
    Some(Range { start, end: start.checked_add(length).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(criterion_text: &str, actual: &str) -> bool {
        let (prefix, wanted) = criterion(criterion_text).unwrap();
        prefix.holds(wanted, range(actual).unwrap())
    }

    #[test]
    fn a_date_stands_for_as_much_time_as_it_is_precise() {
        let length = |text: &str| {
            let range = range(text).unwrap();
            range.end.as_second() - range.start.as_second()
        };
        assert_eq!(length("2027"), 365 * 86_400);
        assert_eq!(length("2028-02"), 29 * 86_400);
        assert_eq!(length("2027-03-01"), 86_400);
        assert_eq!(length("2027-03-01T09:00"), 60);
        assert_eq!(length("2027-03-01T09:00:00Z"), 1);
    }

    #[test]
    fn prefixes_compare_as_fhir_says() {
        assert!(holds("2027-03-01", "2027-03-01T09:00:00Z"));
        assert!(!holds("2027-03-01", "2027-03-02T09:00:00Z"));
        assert!(holds("ge2027-03-01", "2027-03-01T09:00:00Z"));
        assert!(!holds("gt2027-03-01", "2027-03-01T09:00:00Z"));
        assert!(holds("lt2027-03-02", "2027-03-01"));
        assert!(holds("le2027-03-01", "2027-03-01"));
        assert!(holds("ne2027-03-01", "2027-03-02"));
        assert!(holds("sa2027-03-01", "2027-03-02"));
        assert!(holds("eb2027-03-02", "2027-03-01"));
        assert!(holds("2027-03-01T10:00:00+01:00", "2027-03-01T09:00:00Z"));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "27", "2027-13", "2027-02-30", "yesterday", "2027-03-01T", "9999-12-31T23:59:59.999Z9", "ab"] {
            assert_eq!(criterion(text), None, "{text}");
        }
    }
}
