//! What a message's fields are written to.

use std::time::Duration;

/// A message of the model: it lists its fields.
pub(super) trait Encode {
    fn encode<S: Sink>(&self, sink: &mut S);
}

/// Takes fields as (number, JSON name, value). The `put_` methods always write; the others leave out proto3's default.
pub(super) trait Sink: Sized {
    fn put_string(&mut self, number: u32, name: &str, value: &str);
    fn put_bytes(&mut self, number: u32, name: &str, value: &[u8]);
    fn put_bool(&mut self, number: u32, name: &str, value: bool);
    fn put_int64(&mut self, number: u32, name: &str, value: i64);
    fn put_sfixed64(&mut self, number: u32, name: &str, value: i64);
    fn put_double(&mut self, number: u32, name: &str, value: f64);
    /// A trace or span id: bytes on the wire, hex digits in JSON (OTLP, "JSON Protobuf Encoding").
    fn put_id(&mut self, number: u32, name: &str, value: &[u8]);
    fn put_uint32(&mut self, number: u32, name: &str, value: u32);
    /// An `int32`, or an enumeration (a number in OTLP/JSON).
    fn put_int32(&mut self, number: u32, name: &str, value: i32);
    fn put_sint32(&mut self, number: u32, name: &str, value: i32);
    fn put_fixed32(&mut self, number: u32, name: &str, value: u32);
    fn put_fixed64(&mut self, number: u32, name: &str, value: u64);
    fn put_message<M: Encode>(&mut self, number: u32, name: &str, value: &M);

    fn messages<M: Encode>(&mut self, number: u32, name: &str, values: &[M]);
    fn strings(&mut self, number: u32, name: &str, values: &[String]);
    fn uint64s(&mut self, number: u32, name: &str, values: &[u64]);
    fn fixed64s(&mut self, number: u32, name: &str, values: &[u64]);
    fn doubles(&mut self, number: u32, name: &str, values: &[f64]);
    /// A list of one `google.protobuf.Any`, which holds a `google.rpc.RetryInfo`. Its two forms have nothing in common: in
    /// JSON an `Any` is the message itself with its type beside it, and a duration is a string.
    fn put_retry_info(&mut self, number: u32, name: &str, delay: Duration);

    fn string(&mut self, number: u32, name: &str, value: &str) {
        if !value.is_empty() {
            self.put_string(number, name, value);
        }
    }

    fn bool(&mut self, number: u32, name: &str, value: bool) {
        if value {
            self.put_bool(number, name, value);
        }
    }

    fn int64(&mut self, number: u32, name: &str, value: i64) {
        if value != 0 {
            self.put_int64(number, name, value);
        }
    }

    /// Negative zero is not the default.
    fn double(&mut self, number: u32, name: &str, value: f64) {
        if value.to_bits() != 0 {
            self.put_double(number, name, value);
        }
    }

    fn uint32(&mut self, number: u32, name: &str, value: u32) {
        if value != 0 {
            self.put_uint32(number, name, value);
        }
    }

    fn int32(&mut self, number: u32, name: &str, value: i32) {
        if value != 0 {
            self.put_int32(number, name, value);
        }
    }

    fn sint32(&mut self, number: u32, name: &str, value: i32) {
        if value != 0 {
            self.put_sint32(number, name, value);
        }
    }

    fn fixed32(&mut self, number: u32, name: &str, value: u32) {
        if value != 0 {
            self.put_fixed32(number, name, value);
        }
    }

    fn fixed64(&mut self, number: u32, name: &str, value: u64) {
        if value != 0 {
            self.put_fixed64(number, name, value);
        }
    }
}
