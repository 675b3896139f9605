//! JSON as field values.

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
