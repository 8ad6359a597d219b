//! Moments, counts and ids as columns hold them.

use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Row;

use super::trouble::{Trouble, damaged};

/// Nanoseconds since 1970; moments beyond the years 1677 and 2262 become these.
pub(super) fn nanoseconds(moment: SystemTime) -> i64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds)
        }
    }
}

fn moment(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// A count as SQLite knows numbers.
pub(super) fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// The moment in a column.
pub(super) fn moment_at(row: &Row<'_>, column: &str) -> rusqlite::Result<SystemTime> {
    row.get(column).map(moment)
}

/// The count in a column; there are none below zero.
pub(super) fn count_at(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.try_into().unwrap_or(0))
}

/// The id in a column.
pub(super) fn id_at<T: FromStr<Err: Display>>(row: &Row<'_>, column: &str) -> Result<T, Trouble> {
    let text = row.get_ref(column)?.as_str().map_err(|error| damaged(column, error))?;
    text.parse().map_err(|error| damaged(column, error))
}

/// The id in a column that may be empty.
pub(super) fn maybe_id_at<T>(row: &Row<'_>, column: &str) -> Result<Option<T>, Trouble>
where
    T: FromStr<Err: Display>,
{
    let value = row.get_ref(column)?;
    match value.as_str_or_null().map_err(|error| damaged(column, error))? {
        Some(text) => text.parse().map(Some).map_err(|error| damaged(column, error)),
        None => Ok(None),
    }
}

/// The digest in a column that may be empty.
pub(super) fn digest_at(row: &Row<'_>, column: &str) -> Result<Option<[u8; 32]>, Trouble> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    let digest = bytes.map(|bytes| <[u8; 32]>::try_from(bytes.as_slice())).transpose();
    digest.map_err(|_| damaged(column, "it is not of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_to_the_nanosecond() {
        let near = Duration::new(1_700_000_000, 1);
        for at in [UNIX_EPOCH + near, UNIX_EPOCH, UNIX_EPOCH - near] {
            assert_eq!(moment(nanoseconds(at)), at);
        }
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(nanoseconds(far), i64::MAX);
    }
}
