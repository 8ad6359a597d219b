//! Which protocol a client begins to speak.
//!
//! hyper-util's `auto::Builder` would do this, but it waits for the deciding bytes without a
//! limit of time, so that a silent peer stays for ever.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// What a client sends first that speaks HTTP/2 without negotiating it (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocols that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 in the clear, with prior knowledge.
    Http2,
}

/// The bytes that were read to find out.
#[derive(Debug, Default)]
pub(super) struct Sniffed {
    bytes: [u8; PREFACE.len()],
    given: usize,
    read: usize,
}

impl Sniffed {
    /// Gives back as many bytes as fit; false when there are none left.
    pub(super) fn give_back(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let end = self.read.min(self.given + into.remaining());
        let given = &self.bytes[self.given..end];
        into.put_slice(given);
        self.given = end;
        !given.is_empty()
    }
}

/// Reads until the protocol is plain, which is the first byte for most HTTP/1.1 methods.
///
/// # Errors
/// When the connection fails, or ends where the preface might have gone on.
pub(super) async fn sniff<T>(socket: &mut T) -> io::Result<(Protocol, Sniffed)>
where
    T: AsyncRead + Unpin,
{
    let mut sniffed = Sniffed::default();
    loop {
        let count = socket.read(&mut sniffed.bytes[sniffed.read..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sniffed.read += count;
        if sniffed.bytes[..sniffed.read] != PREFACE[..sniffed.read] {
            return Ok((Protocol::Http1, sniffed));
        }
        if sniffed.read == PREFACE.len() {
            return Ok((Protocol::Http2, sniffed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sniff_of(mut bytes: &[u8]) -> io::Result<Protocol> {
        sniff(&mut bytes).await.map(|(protocol, _)| protocol)
    }

    #[tokio::test]
    async fn the_preface_is_http2_and_anything_else_is_http1() {
        assert_eq!(sniff_of(PREFACE).await.unwrap(), Protocol::Http2);
        for other in ["G", "PO", "PRI * HTTP/2.1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", "\r\n"] {
            assert_eq!(sniff_of(other.as_bytes()).await.unwrap(), Protocol::Http1, "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_preface_that_breaks_off_is_neither() {
        assert!(sniff_of(b"").await.is_err());
        assert!(sniff_of(b"PRI * HT").await.is_err());
    }

    #[tokio::test]
    async fn what_was_read_is_given_back_in_pieces_of_any_size() {
        let (_, mut sniffed) = sniff(&mut &b"POST / HTTP/1.1\r\n"[..]).await.unwrap();
        let mut read = Vec::new();
        let mut piece = [0; 7];
        loop {
            let mut into = ReadBuf::new(&mut piece);
            if !sniffed.give_back(&mut into) {
                break;
            }
            read.extend_from_slice(into.filled());
        }
        assert_eq!(read, b"POST / HTTP/1.1\r\n");
    }
}
