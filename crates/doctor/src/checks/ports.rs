//! Is each port of the configuration free, or held by a healthy otlp-rust?

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use config::Config;
use futures::future::join_all;

use crate::examine::{Found, Subject};
use crate::finding::Finding;
use crate::serving::{self, Serving};
use crate::sockets;

/// A server on this machine answers at once.
const ANSWER: Duration = Duration::from_secs(2);

/// A port that the platform takes.
struct Port {
    name: &'static str,
    key: &'static str,
    address: SocketAddr,
    serving: Serving,
}

pub(crate) async fn check(subject: &Subject, found: &Found) {
    let Ok(config) = &subject.config else {
        return found.add(Finding::skipped("ports", "the configuration is not valid"));
    };
    for finding in join_all(ports(config).into_iter().map(look)).await {
        found.add(finding);
    }
}

/// Those that a process of this configuration binds.
fn ports(config: &Config) -> Vec<Port> {
    let (server, roles) = (&config.server, config.server.roles);
    let port = |name, key, address, serving| Port {
        name,
        key,
        address,
        serving,
    };
    let mut ports = Vec::new();
    if roles.ingest {
        ports.push(port(
            "ports.otlp_grpc",
            "server.otlp_grpc",
            server.otlp_grpc,
            Serving::OtlpGrpc,
        ));
        ports.push(port(
            "ports.otlp_http",
            "server.otlp_http",
            server.otlp_http,
            Serving::OtlpHttp,
        ));
    }
    ports.push(port("ports.http", "server.http", server.http, Serving::Api));
    ports.push(port("ports.admin", "server.admin", server.admin, Serving::Metrics));
    if config.postgres_wire.enabled && roles.query {
        let address = config.postgres_wire.listen;
        ports.push(port(
            "ports.postgres_wire",
            "postgres_wire.listen",
            address,
            Serving::PostgresWire,
        ));
    }
    ports
}

async fn look(port: Port) -> Finding {
    let Port {
        name,
        key,
        address,
        serving,
    } = port;
    let finding = match TcpListener::bind(address) {
        Ok(_) => Finding::ok(name, "free"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let answers = serving::is_ours(serving, address, ANSWER).await;
            let owner = tokio::task::spawn_blocking(move || sockets::listener(address.port()))
                .await
                .ok()
                .flatten();
            let owner = owner.map(|owner| format!("{} (process {})", owner.command, owner.pid));
            if answers {
                let who = owner.unwrap_or_else(|| "an otlp-rust".to_owned());
                Finding::ok(name, format!("held by {who}, which is healthy"))
            } else {
                let who = owner.unwrap_or_else(|| "a process that /proc does not show to this user".to_owned());
                Finding::failed(
                    name,
                    format!("held by {who}, which does not answer as a healthy otlp-rust"),
                    format!("stop it, or set {key} to another port"),
                )
            }
        }
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::AddrNotAvailable => format!("set {key} to an address of this machine, or to 0.0.0.0"),
                io::ErrorKind::PermissionDenied => {
                    format!("set {key} to a port above 1023, or allow CAP_NET_BIND_SERVICE")
                }
                _ => format!("set {key} to another address"),
            };
            Finding::failed(name, format!("cannot be bound: {error}"), remedy)
        }
    };
    finding.of(address.to_string()).figure("port", address.port())
}
