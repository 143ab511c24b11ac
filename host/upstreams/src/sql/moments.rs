//! PostgreSQL's dates and times, which it sends as numbers.
//!
//! The driver adds them to its epoch, and panics where the sum has no form: `'infinity'` is such a date, and so are others that
//! the database takes.

use sqlx::types::chrono::{DateTime, NaiveDate};

/// What is written for the last and the first moments that there are.
const INFINITY: &str = "infinity";
const MINUS_INFINITY: &str = "-infinity";
/// The epoch, 2000-01-01: in days of the calendar's, and in microseconds of Unix time.
const EPOCH_DAY: i32 = 730_120;
const EPOCH: i64 = 946_684_800_000_000;

/// A date, of the days since the epoch: ISO 8601. None where it has no form.
pub(super) fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some(INFINITY.to_owned()),
        i32::MIN => Some(MINUS_INFINITY.to_owned()),
        days => {
            let date = NaiveDate::from_num_days_from_ce_opt(days.checked_add(EPOCH_DAY)?)?;
            Some(date.to_string())
        }
    }
}

/// A date and time, of the microseconds since the epoch, with `zone` behind it: ISO 8601. None where it has no form.
pub(super) fn timestamp(microseconds: i64, zone: &str) -> Option<String> {
    match microseconds {
        i64::MAX => Some(INFINITY.to_owned()),
        i64::MIN => Some(MINUS_INFINITY.to_owned()),
        microseconds => {
            let moment = DateTime::from_timestamp_micros(microseconds.checked_add(EPOCH)?)?;
            Some(format!("{}{zone}", moment.format("%FT%T%.f")))
        }
    }
}
