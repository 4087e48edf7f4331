//! From a stream of batches to a body.

use std::io;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use query::QueryError;
use telemetry::QueryStatus;

use super::Format;
use super::encode::{Encoder, encoder};
use super::table::Table;
use crate::ApiError;
use crate::request::partial_header;
use crate::watch::QueryWatch;

/// A query that runs.
pub(super) struct Answer {
    pub format: Format,
    pub schema: SchemaRef,
    /// Why rows may be missing.
    pub partial: Option<String>,
    /// Dropping it cancels the query.
    pub rows: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

/// Rows encoded at once: few enough that a chunk of wide rows stays far below a megabyte.
const CHUNK_ROWS: usize = 1024;

/// Answers with the rows, or with an error if the first of them fails.
pub(super) async fn respond(answer: Answer, mut watch: QueryWatch) -> Response {
    let headers = headers(answer.format, answer.partial.as_deref());
    let started = match answer.format {
        Format::Table => table(answer).await,
        _ => match start(answer).await {
            Ok(body) => return (headers, Body::from_stream(chunks(body, watch))).into_response(),
            Err(error) => Err(error),
        },
    };
    match started {
        Ok(text) => {
            watch.end(QueryStatus::Ok);
            (headers, text).into_response()
        }
        Err(error) => {
            watch.end(error.query_status());
            error.into_response()
        }
    }
}

fn headers(format: Format, partial: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    // What was true of the newest data is not true a moment later.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(partial.map(partial_header));
    headers
}

async fn table(mut answer: Answer) -> Result<Vec<u8>, ApiError> {
    let mut table = Table::new(&answer.schema);
    while let Some(batch) = answer.rows.next().await {
        if !table.rows(&batch?).map_err(not_written)? {
            break;
        }
    }
    Ok(table.finish(answer.partial.as_deref()))
}

fn not_written(error: ArrowError) -> ApiError {
    // A value that cannot be shown in this format: the query can cast it.
    ApiError::Invalid(format!(
        "a value cannot be written in this format ({error}); cast its column to text"
    ))
}

/// A body under way.
struct Running {
    encoder: Box<dyn Encoder>,
    rows: BoxStream<'static, Result<RecordBatch, QueryError>>,
    /// Written and not sent.
    out: Vec<u8>,
    /// The rest of the batch that is being written.
    batch: Option<RecordBatch>,
}

/// Waits for the first rows.
async fn start(answer: Answer) -> Result<Running, ApiError> {
    let Answer {
        format,
        schema,
        partial,
        mut rows,
    } = answer;
    let mut out = Vec::new();
    let encoder = encoder(format, &schema, partial.as_deref(), &mut out)
        .map_err(not_written)?
        .ok_or_else(|| ApiError::Internal(format!("format {} does not stream", format.name())))?;
    let batch = rows.next().await.transpose()?;
    let mut body = Running {
        encoder,
        rows,
        out,
        batch,
    };
    // An error of the first rows still has a status code.
    body.encode().map_err(not_written)?;
    Ok(body)
}

impl Running {
    /// Writes the next rows of the current batch.
    fn encode(&mut self) -> Result<(), ArrowError> {
        let Some(batch) = self.batch.take() else { return Ok(()) };
        let rows = batch.num_rows();
        if rows <= CHUNK_ROWS {
            return self.encoder.rows(&batch, &mut self.out);
        }
        self.encoder.rows(&batch.slice(0, CHUNK_ROWS), &mut self.out)?;
        self.batch = Some(batch.slice(CHUNK_ROWS, rows - CHUNK_ROWS));
        Ok(())
    }

    /// The next piece of the body and, with the last one, how it ended.
    async fn next(&mut self) -> (Vec<u8>, Option<Result<(), ApiError>>) {
        loop {
            if let Err(error) = self.encode() {
                return (std::mem::take(&mut self.out), Some(Err(not_written(error))));
            }
            if !self.out.is_empty() {
                return (std::mem::take(&mut self.out), None);
            }
            match self.rows.next().await {
                Some(Ok(batch)) => self.batch = Some(batch),
                Some(Err(error)) => return (Vec::new(), Some(Err(error.into()))),
                None => {
                    let end = self.encoder.end(&mut self.out).map_err(not_written);
                    return (std::mem::take(&mut self.out), Some(end));
                }
            }
        }
    }
}

/// The body piece by piece. It ends with an error, which breaks the connection, only where the format cannot tell one.
fn chunks(body: Running, watch: QueryWatch) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
    enum State {
        Running(Running, QueryWatch),
        Broken,
        Done,
    }
    stream::unfold(State::Running(body, watch), |state| async move {
        match state {
            State::Running(mut body, mut watch) => match body.next().await {
                (bytes, None) => Some((Ok(bytes.into()), State::Running(body, watch))),
                (bytes, Some(Ok(()))) => {
                    watch.end(QueryStatus::Ok);
                    Some((Ok(bytes.into()), State::Done))
                }
                (mut bytes, Some(Err(error))) => {
                    watch.end(error.query_status());
                    tracing::info!(%error, "a query failed after its first rows");
                    let told = body.encoder.fail(&error, &mut bytes);
                    Some((Ok(bytes.into()), if told { State::Done } else { State::Broken }))
                }
            },
            State::Broken => Some((Err(io::Error::other("the query failed")), State::Done)),
            State::Done => None,
        }
    })
}

#[cfg(test)]
mod tests;
