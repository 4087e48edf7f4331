//! Servers that answer with nearly anything: what they say becomes findings, and ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::fuzz;
use url::Url;

use crate::health::{self, Health};
use crate::serving::{self, Serving};
use crate::{Secrets, Subject, checks, examine};

/// Longer than an answer takes that is there at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server in a thread of its own that gives whoever asks what `answer` writes, and hangs up.
fn server(answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            // What is asked comes in one piece, and is not looked at.
            let _ = stream.read(&mut [0; 4096]);
            answer(&mut stream);
        }
    });
    address
}

fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).unwrap()
}

/// The check of the front door, of a platform at `url`.
fn front_door(url: Url) -> Arc<Subject> {
    Arc::new(Subject {
        config: Err(Vec::new()),
        sources: String::new(),
        store: None,
        catalog: None,
        url: Some(url),
        otlp_url: None,
        write: false,
        timeout: TIMEOUT,
        only: vec!["url".into()],
        version: "0".into(),
        secrets: Secrets::default(),
    })
}

#[test]
fn mutated_answers_are_findings() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let says = Arc::clone(&said);
    let address = server(move |stream| {
        let _ = stream.write_all(&says.lock().unwrap());
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    fuzz::run(&fuzz::corpus("answers"), 60, |answer| {
        *said.lock().unwrap() = answer.to_vec();
        runtime.block_on(async {
            let health = health::ask(&url(address), TIMEOUT).await;
            let line = health.line(&url(address));
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            for port in [
                Serving::OtlpGrpc,
                Serving::OtlpHttp,
                Serving::Api,
                Serving::Metrics,
                Serving::PostgresWire,
            ] {
                serving::is_ours(port, address, TIMEOUT).await;
            }
            if let Some(finding) = checks::compare("store", checks::header_time(url(address), TIMEOUT)).await {
                assert!(finding.figures["seconds"].is_f64(), "{finding:?}");
            }
            let report = examine(front_door(url(address))).await;
            for finding in report.findings {
                // A check that panics says so in a finding of its name.
                assert_ne!(finding.name, "url", "{finding:?}");
                assert!(
                    !finding.seen.contains('\u{1b}') && finding.seen.len() < 2000,
                    "{finding:?}"
                );
            }
        });
    });
}

#[tokio::test]
async fn an_answer_without_an_end_is_read_as_far_as_it_is_shown() {
    let address = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let Health::NotReady(why) = health::ask(&url(address), TIMEOUT).await else {
        panic!("ready, or read to its end")
    };
    assert_eq!(why, format!("503 {}", "x".repeat(200)));
}
