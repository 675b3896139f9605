//! JSON as field values, and back.

use serde_json::Value as Json;

use crate::wire::{Table, Value};

/// `None`: there is a null in it, which RabbitMQ refuses, too.
pub(super) fn field_value(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::I64(integer),
            None => Value::F64(number.as_f64()?),
        },
        Json::String(text) => Value::LongString(text.into_bytes()),
        Json::Array(values) => Value::Array(values.into_iter().map(field_value).collect::<Option<_>>()?),
        Json::Object(fields) => {
            let mut table = Table::default();
            for (name, json) in fields {
                table.push(name, field_value(json)?);
            }
            Value::Table(table)
        }
    })
}

/// An object as a table. The error is the name of a field that has a null in it.
pub fn table_of_json(fields: serde_json::Map<String, Json>) -> Result<Table, String> {
    let mut table = Table::default();
    for (name, json) in fields {
        let Some(value) = field_value(json) else { return Err(name) };
        table.push(name, value);
    }
    Ok(table)
}

/// A table as RabbitMQ shows it.
pub fn json_of_table(table: &Table) -> Json {
    let fields = table.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), json_of(value)));
    Json::Object(fields.collect())
}

/// As RabbitMQ writes arguments: types that JSON has not become their numbers or texts.
fn json_of(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::F32(value) => f64::from(*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Timestamp(seconds) => (*seconds).into(),
        Value::Decimal { scale, value } => (f64::from(*value) / 10_f64.powi(i32::from(*scale))).into(),
        Value::LongString(text) | Value::Binary(text) => String::from_utf8_lossy(text).into(),
        Value::Table(table) => json_of_table(table),
        Value::Array(values) => values.iter().map(json_of).collect(),
        integer => integer.as_integer().map_or(Json::Null, Json::from),
    }
}
