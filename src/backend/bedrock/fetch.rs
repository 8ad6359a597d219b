//! What is behind a client's URL, fetched for it: public addresses only.
//!
//! A broker stands where its clients do not: beside metadata services, databases and consoles.
//! So every address is looked at before it is connected to: one written in the URL here, those
//! of a name by the resolver that the connection itself uses, so that a name cannot lead
//! somewhere else between the look and the connection. Redirects begin anew. Nothing of ours is
//! sent along.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::Uri;
use http_body_util::BodyExt as _;

use crate::backend::aws::aws_error;
use crate::turn::{Failure, FailureKind};

/// What one fetch may take, redirects and all.
const TIME: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Fetches of one turn that run at once.
const AT_ONCE: usize = 4;
/// URLs of one turn.
pub(in crate::backend) const MOST: usize = 20;
/// Bytes of the longest URL.
const LONGEST: usize = 8 << 10;

/// What was behind a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) struct Fetched {
    pub(in crate::backend) bytes: Bytes,
    /// The type that the server says it has.
    pub(in crate::backend) media_type: Option<String>,
}

/// Fetches what clients point at.
#[derive(Debug)]
pub(in crate::backend) struct Fetcher {
    connector: Connector,
    allows: fn(IpAddr) -> bool,
    /// Bytes of one answer.
    most: usize,
}

impl Fetcher {
    /// One that takes up to so many bytes from public addresses.
    pub(in crate::backend) fn new(most: usize) -> Self {
        Self::with(most, is_public)
    }

    fn with(most: usize, allows: fn(IpAddr) -> bool) -> Self {
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_with_resolver(Guard { allows });
        Self { connector, allows, most }
    }

    /// Fetches these, some at once; what fails has its failure in its place.
    pub(in crate::backend) async fn fetch(
        &self,
        mut urls: Vec<String>,
    ) -> HashMap<String, Result<Fetched, Failure>> {
        urls.sort();
        urls.dedup();
        let each = urls.into_iter().map(async |url| {
            let fetched = self.one(&url).await;
            (url, fetched)
        });
        stream::iter(each).buffer_unordered(AT_ONCE).collect().await
    }

    async fn one(&self, url: &str) -> Result<Fetched, Failure> {
        let Ok(fetched) = tokio::time::timeout(TIME, self.follow(url)).await else {
            return Err(refused("took too long"));
        };
        fetched
    }

    async fn follow(&self, url: &str) -> Result<Fetched, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let uri = self.checked(&url)?;
            let response = self.get(&uri).await?;
            let status = response.status().as_u16();
            match response.headers().get("location") {
                Some(target) if matches!(status, 301 | 302 | 303 | 307 | 308) => {
                    url = absolute(&uri, target);
                }
                _ if status == 200 => return self.read(response).await,
                _ => return Err(refused(&format!("answered with status {status}"))),
            }
        }
        Err(refused("redirects too often"))
    }

    /// The URL taken apart, unless it leads where it must not.
    fn checked(&self, url: &str) -> Result<Uri, Failure> {
        if url.len() > LONGEST {
            return Err(refused("is too long"));
        }
        let bare = url.split('#').next().unwrap_or_default();
        let uri: Uri = bare.parse().map_err(|_| refused("is none"))?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let (Some(host), true) = (uri.host(), is_web) else { return Err(refused("is none")) };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refused("holds credentials"));
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|address| !(self.allows)(address)) {
            return Err(forbidden());
        }
        Ok(uri)
    }

    async fn get(&self, uri: &Uri) -> Result<HttpResponse, Failure> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(uri.clone()).map_err(|_| refused("is none"))?;
        request.headers_mut().insert("accept", "*/*");
        request.headers_mut().insert("user-agent", "outcrop");
        self.connector.call(request).await.map_err(|error| {
            let detail = aws_error(&error);
            if detail.contains(FORBIDDEN) {
                return forbidden();
            }
            tracing::info!(error = %detail, "a client's URL could not be fetched");
            refused("could not be reached")
        })
    }

    async fn read(&self, mut response: HttpResponse) -> Result<Fetched, Failure> {
        let media_type = response.headers().get("content-type").map(str::to_owned);
        let mut bytes = BytesMut::new();
        while let Some(frame) = response.body_mut().frame().await {
            let Ok(data) = frame.map_err(|_| refused("broke off"))?.into_data() else { continue };
            if bytes.len() + data.len() > self.most {
                return Err(refused(&format!("leads to more than {} bytes", self.most)));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Fetched { bytes: bytes.freeze(), media_type })
    }
}

fn refused(what: &str) -> Failure {
    let message = format!("the URL of an attachment {what}; send the content as a data URL");
    Failure::bad_field("messages", message)
}

/// What the resolver says of a name that leads to no public address.
const FORBIDDEN: &str = "no public address";

fn forbidden() -> Failure {
    let message = "the URL of an attachment leads to an address that is not public";
    Failure::new(FailureKind::BadRequest, message).at("messages")
}

/// Where a redirect leads.
fn absolute(from: &Uri, target: &str) -> String {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    if target.contains("://") {
        return target.to_owned();
    }
    if let Some(rest) = target.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    if target.starts_with('/') {
        return format!("{scheme}://{authority}{target}");
    }
    let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{scheme}://{authority}{folder}/{target}")
}

/// Resolves names, and gives only addresses that may be connected to.
#[derive(Debug, Clone, Copy)]
struct Guard {
    allows: fn(IpAddr) -> bool,
}

impl ResolveDns for Guard {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            // A name with an address inside as well is no honest one.
            if addresses.is_empty() || !addresses.iter().all(|address| (self.allows)(*address)) {
                return Err(ResolveDnsError::new(FORBIDDEN));
            }
            Ok(addresses)
        })
    }
}

/// Whether an address is one that anybody on the internet can reach.
///
/// (IANA special-purpose address registries for IPv4 and IPv6. Addresses that hold an IPv4
/// address within are as public as that one.)
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, carrier NAT, protocol assignments, benchmarking, reserved.
        (0 | 240..=255, _, _)
        | (100, 64..=127, _)
        | (192, 0, 0)
        | (192, 88, 99)
        | (198, 18 | 19, _) => true,
        _ => false,
    };
    !(is_special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let pieces = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match pieces {
        // Mapped, and translated by NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments with Teredo, and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that is assigned for unicast in public.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    #[test]
    fn addresses_that_are_not_public_are_known() {
        let inside = [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "203.0.113.5",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "2001:0:1::1",
            "2001:db8::1",
            "100::1",
        ];
        for address in inside {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let outside = [
            "8.8.8.8",
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::",
        ];
        for address in outside {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    /// Answers every request on a path with what the path says.
    async fn server(answer: fn(&str) -> String) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = socket.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                // A client that had enough is gone.
                let _ = socket.write_all(answer(path).as_bytes()).await;
            }
        });
        (address, AbortOnDropHandle::new(serving))
    }

    fn reply(path: &str) -> String {
        let (status, header, body) = match path {
            "/picture" => ("200 OK", "content-type: image/png", "PNG"),
            "/large" => ("200 OK", "x-size: large", "0123456789abcdef"),
            "/moved" => ("302 Found", "location: /picture", ""),
            "/inside" => ("302 Found", "location: http://169.254.169.254/latest/", ""),
            "/round" => ("301 Moved", "location: /round", ""),
            _ => ("404 Not Found", "x-what: nothing", ""),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\n{header}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    fn is_loopback(address: IpAddr) -> bool {
        address.is_loopback()
    }

    async fn fetched(fetcher: &Fetcher, url: String) -> Result<Fetched, Failure> {
        fetcher.fetch(vec![url.clone()]).await.remove(&url).unwrap()
    }

    #[tokio::test]
    async fn what_is_behind_a_url_comes_with_its_type_redirects_and_all() {
        let (address, _serving) = server(reply).await;
        let fetcher = Fetcher::with(10, is_loopback);
        let picture =
            Fetched { bytes: Bytes::from_static(b"PNG"), media_type: Some("image/png".to_owned()) };
        for path in ["picture", "moved"] {
            let url = format!("http://{address}/{path}");
            assert_eq!(fetched(&fetcher, url).await.unwrap(), picture, "{path}");
        }
        let by_name = format!("http://localhost:{}/picture", address.port());
        // Where `localhost` has an IPv6 address too, it is loopback all the same.
        assert_eq!(fetched(&fetcher, by_name).await.unwrap(), picture);
    }

    #[tokio::test]
    async fn what_is_too_large_missing_or_goes_round_is_refused() {
        let (address, _serving) = server(reply).await;
        let fetcher = Fetcher::with(10, is_loopback);
        for (path, why) in [("large", "more than 10 bytes"), ("gone", "404"), ("round", "often")] {
            let failure = fetched(&fetcher, format!("http://{address}/{path}")).await.unwrap_err();
            assert!(failure.message.contains(why), "{path}: {}", failure.message);
        }
    }

    #[tokio::test]
    async fn no_way_leads_inside() {
        let (address, _serving) = server(reply).await;
        let redirected = format!("http://{address}/inside");
        let failure = fetched(&Fetcher::with(10, is_loopback), redirected).await.unwrap_err();
        assert!(failure.message.contains("not public"), "{}", failure.message);
        let fetcher = Fetcher::new(10);
        let port = address.port();
        for host in
            ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"]
        {
            let failure = fetched(&fetcher, format!("http://{host}:{port}/picture")).await;
            let failure = failure.unwrap_err();
            assert_eq!(failure.param.as_deref(), Some("messages"));
            let is_refused = failure.message.contains("not public")
                || failure.message.contains("could not be reached")
                || failure.message.contains("is none");
            assert!(is_refused, "{host}: {}", failure.message);
        }
    }

    #[tokio::test]
    async fn urls_that_are_none_or_carry_credentials_are_refused() {
        let fetcher = Fetcher::new(10);
        for url in ["http://user:secret@example.com/", "http:///x", "ftp://example.com/"] {
            assert!(fetched(&fetcher, url.to_owned()).await.is_err(), "{url}");
        }
    }

    #[test]
    fn a_redirect_is_read_from_where_it_was_met() {
        let from: Uri = "https://a.example/x/y?q=1".parse().unwrap();
        for (target, expected) in [
            ("https://b.example/z", "https://b.example/z"),
            ("//b.example/z", "https://b.example/z"),
            ("/z", "https://a.example/z"),
            ("z", "https://a.example/x/z"),
        ] {
            assert_eq!(absolute(&from, target), expected);
        }
    }
}
