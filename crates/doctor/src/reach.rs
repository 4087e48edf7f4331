//! Names to addresses, and connections to servers: what goes wrong before any protocol is spoken.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::endpoints::Endpoint;
use crate::finding::{Finding, shown};

/// A server that does not even take a connection in this time is behind a firewall that drops packets.
const CONNECT: Duration = Duration::from_secs(3);

/// The addresses of a host and how long it took to learn them.
///
/// # Errors
/// That of the system's resolver.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<(Vec<SocketAddr>, Duration)> {
    let started = Instant::now();
    let addresses = tokio::net::lookup_host((host, port)).await?.collect::<Vec<_>>();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok((addresses, started.elapsed()))
}

/// Connects, to say precisely why a client that retries does not.
///
/// # Errors
/// The finding `<of>.reach`.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<TcpStream, Box<Finding>> {
    let address = endpoint.address();
    let key = endpoint.key;
    let failed = |seen: String, remedy: String| {
        let name = format!("{}.reach", endpoint.of);
        Box::new(Finding::failed(name, seen, remedy).of(address.clone()))
    };
    let connected = async {
        let (addresses, _) = resolve(&endpoint.host, endpoint.port).await.map_err(|error| {
            failed(
                format!("the name does not resolve: {error}"),
                format!("correct the host in {key}, or let the name server of this machine or cluster know it"),
            )
        })?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let remedy = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("start the server there, or correct host and port in {key}")
            }
            _ => format!("let this machine's network reach it (routes, firewall, NetworkPolicy), or correct {key}"),
        };
        Err(failed(format!("cannot connect: {error}"), remedy))
    };
    match tokio::time::timeout(CONNECT, connected).await {
        Ok(connected) => connected,
        Err(_) => Err(failed(
            format!("no connection within {}", shown(CONNECT)),
            format!(
                "packets are dropped on the way: look at firewall, security group and NetworkPolicy, or correct {key}"
            ),
        )),
    }
}
