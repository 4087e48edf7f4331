//! Statements and bytes that no client sends: an error, and the next client is served.

use std::time::Duration;

use futures::StreamExt;
use query::{QueryEngine, QueryOptions};
use schema::TenantId;
use testkit::fuzz;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::fixture::{empty_lake, options};

async fn engine() -> QueryEngine {
    let options = QueryOptions {
        max_memory: 64 << 20,
        timeout: Duration::from_secs(5),
        max_rows: Some(10_000),
        concurrency: 4,
        ..options()
    };
    QueryEngine::new(empty_lake().await, options).unwrap()
}

#[test]
fn mutated_statements_are_answered_or_refused() {
    let runtime = Runtime::new().unwrap();
    let engine = runtime.block_on(engine());
    let tenant = TenantId::default();
    fuzz::run(&fuzz::lines("sql"), 400, |input| {
        runtime.block_on(async {
            let text = String::from_utf8_lossy(input);
            if let Ok(mut result) = engine.sql(&tenant, &text).await {
                while let Some(Ok(_)) = result.stream.next().await {}
            }
        });
    });
    assert!(
        runtime
            .block_on(engine.sql(&tenant, "SELECT count(*) FROM spans"))
            .is_ok()
    );
}

/// The start-up message of psql.
fn startup() -> Vec<u8> {
    let parameters = b"user\0postgres\0database\0otlp\0\0";
    let mut bytes = ((8 + parameters.len()) as u32).to_be_bytes().to_vec();
    bytes.extend(196_608u32.to_be_bytes()); // protocol 3.0
    bytes.extend(parameters);
    bytes
}

/// `SELECT 1` as psql sends it after a start-up message.
fn greeting() -> Vec<u8> {
    let mut bytes = startup();
    bytes.extend(b"Q\0\0\0\x0dSELECT 1\0X\0\0\0\x04");
    bytes
}

async fn talk(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server neither answers nor hangs up");
    answer
}

#[test]
fn mutated_connections_hurt_nobody_else() {
    let runtime = Runtime::new().unwrap();
    let (address, server) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = query::postgres::serve(engine().await, TenantId::default(), listener);
        (address, tokio::spawn(serving))
    });
    fuzz::run(&fuzz::corpus("postgres"), 300, |input| {
        runtime.block_on(talk(address, input));
        assert!(!server.is_finished());
    });
    // A message that says it is long is not waited for, whether it is the first or a later one; nor is one that cannot be.
    let mut later = startup();
    later.extend(b"Q\x10\x00\x00\x00select ");
    for (bytes, length) in [(b"\x7f\xff\xff\xff".to_vec(), 0x7fff_ffff_u32), (later, 0x1000_0000)] {
        let answer = runtime.block_on(talk(address, &bytes));
        let text = String::from_utf8_lossy(&answer).into_owned();
        let reason = format!("a message of {length} bytes is longer");
        assert!(text.contains("08P01") && text.contains(&reason), "{text}");
    }
    let answer = runtime.block_on(talk(address, &greeting()));
    let completed = b"SELECT 1\0";
    assert!(
        answer.windows(completed.len()).any(|w| w == completed),
        "{}",
        answer.escape_ascii()
    );
    server.abort();
}
