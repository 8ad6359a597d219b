//! Where a page of sessions begins, as clients carry it from page to page.
//!
//! A session's id would do, but for a session that was active between two pages, or has ended
//! since: it does not stand where it stood. A cursor says when the last one of the page before
//! was active and what it was called, and holds whatever becomes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::turn::SessionId;

/// What cursors begin with.
const PREFIX: &str = "after_";

/// Writes a place down.
pub(super) fn write((at, id): &(SystemTime, SessionId)) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let place = format!("{}.{:09} {id}", since.as_secs(), since.subsec_nanos());
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(place))
}

/// Reads what [`write()`] wrote; `None` for everything else, such as a session's id.
pub(super) fn read(text: &str) -> Option<(SystemTime, SessionId)> {
    let place = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let (at, id) = std::str::from_utf8(&place).ok()?.split_once(' ')?;
    let (seconds, nanoseconds) = at.split_once('.').filter(|(_, part)| part.len() == 9)?;
    let nanoseconds = nanoseconds.parse().ok().filter(|number| *number < 1_000_000_000)?;
    let since = Duration::new(seconds.parse().ok()?, nanoseconds);
    Some((UNIX_EPOCH.checked_add(since)?, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_to_the_nanosecond() {
        let at = UNIX_EPOCH + Duration::new(1_700_000_000, 7);
        let place = (at, "team/7 is no id".replace(' ', "-").parse().unwrap());
        assert_eq!(read(&write(&place)), Some(place));
    }

    #[test]
    fn what_is_no_cursor_is_left_to_others() {
        let beyond = format!("{}.000000000 a", u64::MAX);
        let beyond = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(beyond));
        let strange = ["", "call-7", "after_", "after_!", "after_MQ", "after_MS4yIGE", &beyond];
        for text in strange {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
