//! Bodies of log records put together again: the SQL function behind `logs.body`.
//!
//! Parts store a body as template, numbers and words (`lake::part::body`). The function takes a row's columns and gives
//! the body, so that a filter on `body` is a filter on these columns, which the scan evaluates.

use arrow::array::new_null_array;
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use lake::part::body::StoredBodies;
use schema::columns::BODY_NUMBERS;

/// `log_body(body, body_template, body_words, body_number_1, ...)`: `body` where it is there, else what the others
/// stand for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LogBody {
    signature: Signature,
}

/// The function as a value for plans.
pub(crate) fn log_body() -> ScalarUDF {
    let mut types = vec![DataType::Utf8, DataType::Utf8View, DataType::Utf8];
    types.resize(types.len() + BODY_NUMBERS, DataType::Float64);
    ScalarUDF::new_from_impl(LogBody {
        signature: Signature::exact(types, Volatility::Immutable),
    })
}

impl ScalarUDFImpl for LogBody {
    fn name(&self) -> &str {
        "log_body"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [whole, templates, words, numbers @ ..] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("log_body takes a body's columns".to_owned()));
        };
        let stored = StoredBodies {
            whole: Some(whole),
            templates: Some(templates),
            words: Some(words),
            numbers: numbers.iter().map(Some).collect(),
        };
        let bodies = stored.join()?;
        let none = || new_null_array(&DataType::Utf8, templates.len());
        Ok(ColumnarValue::Array(bodies.unwrap_or_else(none)))
    }
}
