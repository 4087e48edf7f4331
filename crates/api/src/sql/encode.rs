//! The streaming formats: each writes a head, batches, and an end or an error.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde_json::json;

use super::Format;
use crate::ApiError;
use crate::cells::{Column, json_text};

/// Writes a result in one format.
pub(super) trait Encoder: Send {
    /// Appends rows.
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    /// Appends what follows the last row.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    /// Appends an error in place of the end; false if the format cannot tell one.
    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) -> bool;
}

/// An encoder, with what comes before the first row appended to `out`. `None` for [`Format::Table`], which does not
/// stream.
pub(super) fn encoder(
    format: Format,
    schema: &SchemaRef,
    partial: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<Option<Box<dyn Encoder>>, ArrowError> {
    Ok(match format {
        Format::Json => {
            let columns = schema.fields().iter().zip(unique_names(schema));
            let columns = columns
                .map(|(field, name)| json!({ "name": name, "type": field.data_type().to_string() }))
                .collect::<Vec<_>>();
            let partial = partial.map_or_else(String::new, |reason| format!("\"partial\":{},", json!(reason)));
            out.extend_from_slice(format!("{{\"columns\":{},{partial}\"data\":[", json!(columns)).as_bytes());
            Some(Box::new(Json {
                objects: Objects::new(schema),
                some: false,
            }))
        }
        Format::Ndjson => Some(Box::new(Ndjson(Objects::new(schema)))),
        Format::Csv => {
            csv_line(schema.fields().iter().map(|field| Some(field.name().as_bytes())), out);
            Some(Box::new(Csv))
        }
        Format::Arrow => {
            let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
            out.append(writer.get_mut());
            Some(Box::new(Ipc(writer)))
        }
        Format::Table => None,
    })
}

/// Column names that are not repeated, as members of a JSON object must not be: the second `id` becomes `id_2`.
fn unique_names(schema: &SchemaRef) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut n = 2;
        while names.contains(&name) {
            name = format!("{}_{n}", field.name());
            n += 1;
        }
        names.push(name);
    }
    names
}

/// Rows as JSON objects.
struct Objects {
    /// `{"a":`, `,"b":`, ...
    members: Vec<Vec<u8>>,
}

impl Objects {
    fn new(schema: &SchemaRef) -> Self {
        let members = unique_names(schema).into_iter().enumerate().map(|(i, name)| {
            let mut member = vec![if i == 0 { b'{' } else { b',' }];
            json_text(&name, &mut member);
            member.push(b':');
            member
        });
        Self {
            members: members.collect(),
        }
    }

    fn row(&self, columns: &[Column], row: usize, out: &mut Vec<u8>) {
        for (member, column) in self.members.iter().zip(columns) {
            out.extend_from_slice(member);
            column.json(row, out);
        }
        out.extend_from_slice(if self.members.is_empty() {
            b"{}".as_slice()
        } else {
            b"}"
        });
    }
}

fn columns(batch: &RecordBatch) -> Result<Vec<Column>, ArrowError> {
    batch.columns().iter().map(Column::new).collect()
}

struct Json {
    objects: Objects,
    some: bool,
}

impl Encoder for Json {
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = columns(batch)?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if self.some { b",\n".as_slice() } else { b"\n" });
            self.some = true;
            self.objects.row(&columns, row, out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(b"]}\n");
        Ok(())
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) -> bool {
        let error = &error.body()["error"];
        out.extend_from_slice(format!("],\"error\":{error}}}\n").as_bytes());
        true
    }
}

struct Ndjson(Objects);

impl Encoder for Ndjson {
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = columns(batch)?;
        for row in 0..batch.num_rows() {
            self.0.row(&columns, row, out);
            out.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(format!("{}\n", error.body()).as_bytes());
        true
    }
}

struct Csv;

impl Encoder for Csv {
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = columns(batch)?;
        let mut texts = vec![Vec::new(); columns.len()];
        for row in 0..batch.num_rows() {
            for (text, column) in texts.iter_mut().zip(&columns) {
                text.clear();
                column.text(row, text);
            }
            let fields = texts.iter().zip(&columns);
            csv_line(
                fields.map(|(text, column)| (!column.is_null(row)).then_some(text.as_slice())),
                out,
            );
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) -> bool {
        let message = error.to_string().replace(['\r', '\n'], " ");
        out.extend_from_slice(format!("# error: {message}\n").as_bytes());
        true
    }
}

/// One record. `None` is null: nothing between the commas.
fn csv_line<'a>(fields: impl Iterator<Item = Option<&'a [u8]>>, out: &mut Vec<u8>) {
    for (i, field) in fields.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let Some(field) = field else { continue };
        if !field.is_empty() && !field.iter().any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r')) {
            out.extend_from_slice(field);
            continue;
        }
        out.push(b'"');
        for &byte in field {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out.push(b'\n');
}

struct Ipc(StreamWriter<Vec<u8>>);

impl Encoder for Ipc {
    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.0.write(batch)?;
        out.append(self.0.get_mut());
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.0.finish()?;
        out.append(self.0.get_mut());
        Ok(())
    }

    fn fail(&mut self, _: &ApiError, _: &mut Vec<u8>) -> bool {
        false
    }
}
