//! Log records as parts store them: bodies taken apart, observed times as delays.
//!
//! What a row becomes depends on the row alone, so rows of parts and rows of slices can be merged, and each row can
//! be given back by an expression over its own columns (`query::views` has them):
//!
//! * `body` becomes `body_template`, `body_number_1`... and `body_words` (see [`super::body`]) where at least
//!   [`MIN_REPEATS`] rows share the template; other bodies stay;
//! * `observed_time` becomes `observed_delay`, its distance from `timestamp`, unless that overflows.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder, TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type, Schema, TimestampNanosecondType};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use schema::{Dataset, columns};

use super::body::{Splitter, StoredBodies, numbers_of};
use crate::LakeError;

/// A template that fewer rows share is no template: free text must not fill the dictionary.
const MIN_REPEATS: u32 = 4;

/// Brings batches of log rows into the form that parts store.
pub(super) fn encode(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, LakeError> {
    let mut templates = Templates::default();
    let taken = batches
        .iter()
        .map(|batch| Bodies::of(batch, &mut templates))
        .collect::<Result<Vec<_>, _>>()?;
    let dictionary = templates.dictionary();
    let mut out = Vec::with_capacity(batches.len());
    for (batch, bodies) in batches.iter().zip(taken) {
        let mut columns = Columns::without_bodies(batch);
        bodies.finish(&templates, &dictionary, &mut columns);
        delay(&mut columns)?;
        out.push(columns.finish(batch.num_rows())?);
    }
    Ok(out)
}

/// The logical columns of rows that were encoded; other rows pass through.
pub(super) fn decode(batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let stored = columns::stored(Dataset::Logs);
    if !stored.iter().any(|field| batch.column_by_name(field.name()).is_some()) {
        return Ok(batch);
    }
    let numbers = (0..columns::BODY_NUMBERS).map(columns::body_number);
    let numbers = numbers.map(|name| batch.column_by_name(&name));
    let stored = StoredBodies {
        whole: batch.column_by_name("body"),
        templates: batch.column_by_name(columns::BODY_TEMPLATE),
        words: batch.column_by_name(columns::BODY_WORDS),
        numbers: numbers.collect(),
    };
    let bodies = stored.join()?;
    let mut columns = Columns::without_bodies(&batch);
    if let Some(bodies) = bodies {
        columns.add("body", bodies);
    }
    if let Some(delay) = columns.take(columns::OBSERVED_DELAY) {
        let observed = columns.take("observed_time");
        let timestamp = columns.get("timestamp");
        if let Some(observed) = observed_time(timestamp, &delay, observed.as_ref()) {
            columns.add("observed_time", observed);
        }
    }
    columns.finish(batch.num_rows())
}

/// `timestamp` plus `delay`, or `observed` where there is no delay.
fn observed_time(timestamp: Option<&ArrayRef>, delay: &ArrayRef, observed: Option<&ArrayRef>) -> Option<ArrayRef> {
    let timestamp = timestamp?.as_primitive_opt::<TimestampNanosecondType>()?;
    let delay = delay.as_primitive_opt::<Int64Type>()?;
    let observed = observed.and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let rows = timestamp.values().iter().zip(delay.iter()).enumerate();
    let times = rows.map(|(row, (at, delay))| match delay {
        Some(delay) => Some(at.wrapping_add(delay)),
        None => observed
            .filter(|times| times.is_valid(row))
            .map(|times| times.value(row)),
    });
    let times = times.collect::<TimestampNanosecondArray>();
    Some(Arc::new(times.with_data_type(columns::timestamp())))
}

fn is_body(name: &str) -> bool {
    matches!(name, "body" | columns::BODY_TEMPLATE | columns::BODY_WORDS) || columns::is_body_number(name)
}

/// Columns that become a batch.
#[derive(Default)]
struct Columns(Vec<(FieldRef, ArrayRef)>);

impl Columns {
    /// The columns of a batch that are not about bodies.
    fn without_bodies(batch: &RecordBatch) -> Self {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.filter(|(field, _)| !is_body(field.name()));
        Self(columns.map(|(f, c)| (Arc::clone(f), Arc::clone(c))).collect())
    }

    fn add(&mut self, name: &str, array: ArrayRef) {
        let field = Field::new(name, array.data_type().clone(), true);
        self.0.push((Arc::new(field), array));
    }

    fn get(&self, name: &str) -> Option<&ArrayRef> {
        self.0.iter().find(|(f, _)| f.name() == name).map(|(_, array)| array)
    }

    fn take(&mut self, name: &str) -> Option<ArrayRef> {
        let at = self.0.iter().position(|(f, _)| f.name() == name)?;
        Some(self.0.remove(at).1)
    }

    fn finish(self, rows: usize) -> Result<RecordBatch, LakeError> {
        let (fields, arrays): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &options,
        )?)
    }
}

/// Replaces `observed_time` by its distance from `timestamp`.
fn delay(columns: &mut Columns) -> Result<(), LakeError> {
    let Some(observed) = columns.take("observed_time") else {
        return Ok(());
    };
    let times = |column: &ArrayRef| column.as_primitive_opt::<TimestampNanosecondType>().cloned();
    let delay = columns.get("timestamp").and_then(times).zip(times(&observed));
    let delay = delay.and_then(|(timestamp, observed)| {
        let pairs = observed.values().iter().zip(timestamp.values()).enumerate();
        let delays = pairs.map(|(row, (observed_at, at))| match observed_at.checked_sub(*at) {
            Some(delay) => Some(delay),
            // What stands behind a null may overflow without harm.
            None => observed.is_null(row).then_some(0),
        });
        let delays = delays.collect::<Option<Vec<i64>>>()?;
        Some(Int64Array::new(delays.into(), observed.nulls().cloned()))
    });
    match (delay, columns.take(columns::OBSERVED_DELAY)) {
        // Rows of parts, some of which kept their time.
        (_, Some(known)) => {
            columns.add(columns::OBSERVED_DELAY, known);
            columns.add("observed_time", observed);
        }
        (Some(delay), None) => columns.add(columns::OBSERVED_DELAY, Arc::new(delay)),
        (None, None) => columns.add("observed_time", observed),
    }
    Ok(())
}

/// All templates met so far.
#[derive(Default)]
struct Templates {
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    all: Vec<Template>,
}

struct Template {
    text: Box<str>,
    /// How many numbers it takes.
    numbers: usize,
    /// How many rows have it.
    rows: u32,
    /// Whether rows of parts have it: those are not made whole again.
    stored: bool,
}

impl Template {
    fn is_kept(&self) -> bool {
        self.stored || self.rows >= MIN_REPEATS
    }
}

impl Templates {
    /// The number of a template, for one more row; `None` if it is not UTF-8.
    fn code(&mut self, text: &[u8]) -> Option<u32> {
        let Self { hasher, table, all } = self;
        let found = table.entry(
            hasher.hash_one(text),
            |&code| all[code as usize].text.as_bytes() == text,
            |&code| hasher.hash_one(all[code as usize].text.as_bytes()),
        );
        let code = match found {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let text = std::str::from_utf8(text).ok()?;
                let code = all.len() as u32;
                entry.insert(code);
                all.push(Template {
                    text: text.into(),
                    numbers: numbers_of(text),
                    rows: 0,
                    stored: false,
                });
                code
            }
        };
        all[code as usize].rows += 1;
        Some(code)
    }

    /// The texts of the templates that are kept, and for every template its key there.
    fn dictionary(&self) -> Dictionary {
        let mut keys = Vec::with_capacity(self.all.len());
        let mut texts = StringBuilder::new();
        let mut next = 0;
        for template in &self.all {
            keys.push(template.is_kept().then_some(next));
            if template.is_kept() {
                texts.append_value(&template.text);
                next += 1;
            }
        }
        Dictionary {
            keys,
            texts: Arc::new(texts.finish()),
        }
    }
}

struct Dictionary {
    keys: Vec<Option<i32>>,
    texts: ArrayRef,
}

/// The bodies of one batch, taken apart.
struct Bodies {
    /// By row the template, if the body was taken apart.
    codes: Vec<Option<u32>>,
    /// The numbers of all rows, row by row.
    numbers: Vec<f64>,
    /// The words of all rows, row by row.
    words: Vec<u8>,
    word_ends: Vec<u32>,
    /// The bodies as they came.
    whole: Option<StringArray>,
}

impl Bodies {
    fn of(batch: &RecordBatch, templates: &mut Templates) -> Result<Self, LakeError> {
        let rows = batch.num_rows();
        let text = |name: &str| -> Result<Option<StringArray>, LakeError> {
            let Some(column) = batch.column_by_name(name) else {
                return Ok(None);
            };
            Ok(Some(cast(column, &DataType::Utf8)?.as_string().clone()))
        };
        let stored = text("body_template")?;
        let stored_words = text("body_words")?;
        let stored_numbers = (0..columns::BODY_NUMBERS)
            .map(|k| {
                batch
                    .column_by_name(&columns::body_number(k))?
                    .as_primitive_opt::<Float64Type>()
            })
            .collect::<Vec<_>>();
        let mut bodies = Self {
            codes: Vec::with_capacity(rows),
            numbers: Vec::with_capacity(rows * 4),
            words: Vec::new(),
            word_ends: Vec::with_capacity(rows),
            whole: text("body")?,
        };
        let mut splitter = Splitter::default();
        for row in 0..rows {
            let template = stored.as_ref().filter(|column| column.is_valid(row));
            let code = if let Some(template) = template {
                let code = templates.code(template.value(row).as_bytes());
                if let Some(code) = code {
                    let template = &mut templates.all[code as usize];
                    template.stored = true;
                    // Values are kept whatever they are: who reads the row finds what is wrong with them.
                    let number = |k: usize| stored_numbers[k].map_or(0.0, |column| column.value(row));
                    bodies.numbers.extend((0..template.numbers).map(number));
                }
                if let Some(words) = stored_words.as_ref().filter(|column| column.is_valid(row)) {
                    bodies.words.extend_from_slice(words.value(row).as_bytes());
                }
                code
            } else {
                let whole = bodies.whole.as_ref().filter(|column| column.is_valid(row));
                let split = whole.is_some_and(|column| splitter.split(column.value(row)));
                let code = if split {
                    templates.code(&splitter.template)
                } else {
                    None
                };
                if code.is_some() {
                    bodies.numbers.extend_from_slice(&splitter.numbers);
                    bodies.words.extend_from_slice(&splitter.words);
                }
                code
            };
            bodies.codes.push(code);
            bodies.word_ends.push(bodies.words.len() as u32);
        }
        Ok(bodies)
    }

    fn finish(self, templates: &Templates, dictionary: &Dictionary, columns: &mut Columns) {
        let rows = self.codes.len();
        let kept = |code: Option<u32>| code.and_then(|code| dictionary.keys[code as usize]);
        let mut counts = vec![0u8; rows];
        let mut numbers: Vec<Vec<f64>> = Vec::new();
        let mut whole = StringBuilder::new();
        let mut words = StringBuilder::new();
        let mut keys = Vec::with_capacity(rows);
        let (mut number, mut word) = (0, 0);
        for row in 0..rows {
            let code = self.codes[row];
            let count = code.map_or(0, |code| templates.all[code as usize].numbers);
            let own_numbers = &self.numbers[number..number + count];
            let own_words = &self.words[word..self.word_ends[row] as usize];
            (number, word) = (number + count, self.word_ends[row] as usize);
            let key = kept(code);
            keys.push(key);
            if key.is_none() {
                let body = self.whole.as_ref().filter(|column| column.is_valid(row));
                whole.append_option(body.map(|column| column.value(row)));
                words.append_null();
                continue;
            }
            whole.append_null();
            counts[row] = count as u8;
            while numbers.len() < count {
                numbers.push(vec![0.0; rows]);
            }
            for (column, &value) in numbers.iter_mut().zip(own_numbers) {
                column[row] = value;
            }
            // Words are ASCII, or came from a column of UTF-8 text.
            words.append_option(std::str::from_utf8(own_words).ok().filter(|words| !words.is_empty()));
        }
        let keys = Int32Array::from(keys);
        if keys.null_count() < rows {
            // Every key is a position in the texts.
            if let Ok(column) = DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&dictionary.texts)) {
                columns.add(columns::BODY_TEMPLATE, Arc::new(column));
            }
        }
        for (name, mut texts) in [("body", whole), (columns::BODY_WORDS, words)] {
            let texts = texts.finish();
            if texts.null_count() < rows {
                columns.add(name, Arc::new(texts));
            }
        }
        for (k, values) in numbers.into_iter().enumerate() {
            let valid = BooleanBuffer::collect_bool(rows, |row| usize::from(counts[row]) > k);
            let column = Float64Array::new(values.into(), Some(NullBuffer::new(valid)));
            columns.add(&columns::body_number(k), Arc::new(column));
        }
    }
}
