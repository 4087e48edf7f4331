//! The same traces under other ids, so that a short load makes a long run without a request that is sent twice.

use anyhow::{Context as _, Result, bail};

/// Changes all trace and span ids in an encoded ExportTraceServiceRequest: each is XORed with `mask`, so that spans
/// stay together and parents stay parents.
///
/// # Errors
/// When the bytes are no such request.
pub fn rename(request: &mut [u8], mask: u64) -> Result<()> {
    // resource_spans = 1, scope_spans = 2, spans = 2 (opentelemetry-proto, trace/v1/trace.proto).
    fields(request, &mut |number, resource_spans| match number {
        1 => fields(resource_spans, &mut |number, scope_spans| match number {
            2 => fields(scope_spans, &mut |number, span| match number {
                2 => rename_span(span, mask),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })
}

fn rename_span(span: &mut [u8], mask: u64) -> Result<()> {
    fields(span, &mut |number, value| match number {
        // trace_id = 1, span_id = 2, parent_span_id = 4
        1 | 2 | 4 => {
            change(value, mask);
            Ok(())
        }
        // links = 13, with trace_id = 1, span_id = 2
        13 => fields(value, &mut |number, id| {
            if number <= 2 {
                change(id, mask);
            }
            Ok(())
        }),
        _ => Ok(()),
    })
}

fn change(id: &mut [u8], mask: u64) {
    // The last eight bytes; none of a missing parent.
    let from = id.len().saturating_sub(8);
    for (byte, mask) in id[from..].iter_mut().zip(mask.to_be_bytes()) {
        *byte ^= mask;
    }
}

/// Calls `each` with the number and the bytes of every length-delimited field of a message (protobuf, "Encoding").
fn fields(message: &mut [u8], each: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let mut at = 0;
    while at < message.len() {
        let tag = varint(message, &mut at)?;
        let skipped = match tag & 7 {
            0 => {
                varint(message, &mut at)?;
                0
            }
            1 => 8,
            2 => {
                let length = usize::try_from(varint(message, &mut at)?)?;
                let end = at.checked_add(length).context("a length beyond memory")?;
                each(
                    tag >> 3,
                    message.get_mut(at..end).context("a field beyond its message")?,
                )?;
                length
            }
            5 => 4,
            kind => bail!("{kind} is not a wire type"),
        };
        at += skipped;
    }
    Ok(())
}

fn varint(message: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.get(*at).context("a truncated number")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    use super::*;
    use crate::load::{Plan, Signal};

    #[test]
    fn only_ids_change_and_twice_is_not_at_all() {
        let plan = Plan {
            seed: 3,
            items: 2000,
            start: 1_700_000_000_000_000_000,
            rate: 1000.0,
        };
        let mask = 0x0102_0304_0506_0708;
        for request in Signal::Traces.requests(plan) {
            let before = ExportTraceServiceRequest::decode(request.bytes.clone()).unwrap();
            let mut bytes = request.bytes.to_vec();
            rename(&mut bytes, mask).unwrap();
            let after = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
            let spans = |message: &ExportTraceServiceRequest| {
                let scopes = message.resource_spans.iter().flat_map(|r| r.scope_spans.clone());
                scopes.flat_map(|s| s.spans).collect::<Vec<_>>()
            };
            for (old, new) in spans(&before).into_iter().zip(spans(&after)) {
                assert_ne!(old.trace_id, new.trace_id);
                assert_ne!(old.span_id, new.span_id);
                assert_eq!(old.parent_span_id.is_empty(), new.parent_span_id.is_empty());
                assert_eq!((old.name, old.attributes), (new.name, new.attributes));
            }
            rename(&mut bytes, mask).unwrap();
            assert_eq!(bytes, request.bytes);
        }
        assert!(rename(&mut [0x0a, 0x05, 1], 1).is_err());
        assert!(rename(&mut [0xff; 11], 1).is_err());
    }
}
