//! A front before the emulator that looks at requests, and throttles some regions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The longest head of a request.
const HEAD: usize = 64 << 10;

/// A front: every connection carries one request.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Front {
    /// One that throttles what is signed for this region, and passes all else on.
    pub(crate) async fn throttling(region: &'static str, behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                // A connection that broke has nothing more to pass on.
                tokio::spawn(async move { drop(pass(client, behind, region, &seen).await) });
            }
        });
        Self { address, heads, _serving: AbortOnDropHandle::new(serving) }
    }

    /// The regions that requests were signed for, in order.
    pub(crate) fn regions(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        // `Credential=KEY/DATE/REGION/bedrock/aws4_request`
        let region = |head: &String| {
            let scope = head.split_once("Credential=")?.1;
            Some(scope.split('/').nth(2)?.to_owned())
        };
        heads.iter().filter_map(region).collect()
    }

    /// What requests were authorised with, in order.
    pub(crate) fn authorizations(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        let line = |head: &String| {
            let mut lines = head.lines();
            let found = lines.find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
            Some(found?.split_once(':')?.1.trim().to_owned())
        };
        heads.iter().filter_map(line).collect()
    }
}

async fn pass(
    mut client: TcpStream,
    behind: SocketAddr,
    throttled: &str,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") && request.len() < HEAD {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let is_throttled = head.contains(&format!("/{throttled}/bedrock/"));
    seen.lock().unwrap().push(head);
    if is_throttled {
        let body = r#"{"message":"Too many requests"}"#;
        let reply = format!(
            "HTTP/1.1 429 Too Many Requests\r\nx-amzn-errortype: ThrottlingException\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        return client.write_all(reply.as_bytes()).await;
    }
    let mut upstream = TcpStream::connect(behind).await?;
    upstream.write_all(&request).await?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
