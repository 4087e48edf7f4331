//! What stands between a client and the protocol's implementation, which takes messages of up to 1 GiB into memory, from anybody.
//!
//! Messages are passed on as they come if they are short enough; no more is held of one than a buffer. Documentation:
//! PostgreSQL 17, chapter "Frontend/Backend Protocol", section "Message Formats".

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use datafusion_postgres::pgwire::api::PgWireServerHandlers;
use datafusion_postgres::pgwire::tokio::process_socket_unix;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, copy, sink};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{TcpStream, UnixStream};

/// The longest message: as much as a statement over HTTP may be long.
const LONGEST: u32 = 1 << 20;

/// The longest start-up message, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
const LONGEST_STARTUP: u32 = 10_000;

/// How long a client may take to say who it is.
const STARTUP_TIME: Duration = Duration::from_secs(60);

/// How long a client that is refused may go on sending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Asks for TLS, and for encryption by GSSAPI, instead of a protocol's version.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// Serves one client until it or its time is over.
pub(super) async fn serve(mut client: TcpStream, handlers: impl PgWireServerHandlers) -> io::Result<()> {
    client.set_nodelay(true)?;
    let startup = match tokio::time::timeout(STARTUP_TIME, startup(&mut client)).await {
        Ok(startup) => startup?,
        Err(_) => return Ok(()),
    };
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(&startup).await?;
    let serving = process_socket_unix(theirs, handlers);
    let relaying = relay(client, ours);
    tokio::pin!(serving, relaying);
    tokio::select! {
        // A client that is gone takes its statement with it.
        relayed = &mut relaying => relayed,
        served = &mut serving => {
            served?;
            relaying.await // what was said last is still on its way
        }
    }
}

fn too_long(length: u32, longest: u32) -> io::Error {
    let reason = format!("a message of {length} bytes is longer than the {longest} bytes that are taken");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads the start-up message. Encryption is declined: a client goes on without, or gives up.
async fn startup(client: &mut TcpStream) -> io::Result<BytesMut> {
    loop {
        let length = client.read_u32().await?;
        if !(8..=LONGEST_STARTUP).contains(&length) {
            return refuse(client, &too_long(length, LONGEST_STARTUP)).await;
        }
        let code = client.read_u32().await?;
        if length == 8 && ENCRYPTION.contains(&code) {
            client.write_all(b"N").await?;
            continue;
        }
        let mut message = BytesMut::with_capacity(length as usize);
        message.put_u32(length);
        message.put_u32(code);
        message.resize(length as usize, 0);
        client.read_exact(&mut message[8..]).await?;
        return Ok(message);
    }
}

/// Says why a connection ends.
async fn refuse<T>(client: &mut (impl AsyncWriteExt + Unpin), error: &io::Error) -> io::Result<T> {
    let mut fields = BytesMut::new();
    for (kind, text) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', "08P01"), // protocol_violation
        (b'M', &error.to_string()),
    ] {
        fields.put_u8(kind);
        fields.put_slice(text.as_bytes());
        fields.put_u8(0);
    }
    fields.put_u8(0);
    client.write_u8(b'E').await?;
    client.write_u32(fields.len() as u32 + 4).await?;
    client.write_all(&fields).await?;
    client.shutdown().await?;
    Err(io::Error::new(error.kind(), error.to_string()))
}

/// Passes on what both sides say, until the server has said its last.
async fn relay(client: TcpStream, server: UnixStream) -> io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let mut from_client = BufReader::new(from_client);
    let (mut from_server, to_server) = server.into_split();
    let refused = {
        let saying = copy(&mut from_server, &mut to_client);
        let asking = pass_messages(&mut from_client, to_server);
        tokio::pin!(saying);
        tokio::select! {
            said = &mut saying => return said.map(drop),
            asked = asking => match asked {
                Ok(()) => return saying.await.map(drop),
                Err(error) => error,
            },
        }
    };
    match refused.kind() {
        io::ErrorKind::InvalidData => {
            let reading = async { copy(&mut from_client.take(LONGEST.into()), &mut sink()).await };
            let told = refuse(&mut to_client, &refused).await;
            // Closed with bytes unread, the connection would break before the client has read why.
            let _ = tokio::time::timeout(LAST_WORDS, reading).await;
            told
        }
        _ => Err(refused),
    }
}

/// Passes messages on until the client says no more.
async fn pass_messages(client: &mut (impl AsyncRead + Unpin), mut server: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let kind = match client.read_u8().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return server.shutdown().await,
            kind => kind?,
        };
        let length = client.read_u32().await?;
        if !(4..=LONGEST).contains(&length) {
            return Err(too_long(length, LONGEST));
        }
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&length.to_be_bytes());
        server.write_all(&head).await?;
        let rest = u64::from(length - 4);
        if copy(&mut (&mut *client).take(rest), &mut server).await? < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
