//! AMQP's tables of headers as JSON, and back. The types of the two are not the same; what Celery puts into headers survives both ways.

use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use serde_json::{Map, Number, Value};

/// Deeper nesting is cut: nothing of Celery's is as deep, and whoever reads the JSON must not run out of stack.
const DEPTH_MAX: usize = 32;
/// The longest name in a table.
const NAME_MAX: usize = 255;

/// A table as JSON.
pub(super) fn to_json(table: &FieldTable) -> Map<String, Value> {
    object(table, 0)
}

fn object(table: &FieldTable, depth: usize) -> Map<String, Value> {
    let fields = table.inner().iter();
    fields
        .map(|(name, field)| (name.as_str().to_owned(), value(field, depth)))
        .collect()
}

fn value(field: &AMQPValue, depth: usize) -> Value {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
    match field {
        AMQPValue::Boolean(b) => Value::Bool(*b),
        AMQPValue::ShortShortInt(n) => (*n).into(),
        AMQPValue::ShortShortUInt(n) => (*n).into(),
        AMQPValue::ShortInt(n) => (*n).into(),
        AMQPValue::ShortUInt(n) => (*n).into(),
        AMQPValue::LongInt(n) => (*n).into(),
        AMQPValue::LongUInt(n) => (*n).into(),
        AMQPValue::LongLongInt(n) => (*n).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::Float(n) => float(f64::from(*n)),
        AMQPValue::Double(n) => float(*n),
        AMQPValue::DecimalValue(n) => float(f64::from(n.value) / 10_f64.powi(i32::from(n.scale))),
        AMQPValue::ShortString(s) => Value::String(s.as_str().to_owned()),
        AMQPValue::LongString(s) => text(s.as_bytes()),
        AMQPValue::ByteArray(bytes) => text(bytes.as_slice()),
        AMQPValue::Void => Value::Null,
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth >= DEPTH_MAX => Value::Null,
        AMQPValue::FieldArray(items) => {
            let items = items.as_slice().iter();
            items.map(|item| value(item, depth + 1)).collect()
        }
        AMQPValue::FieldTable(table) => Value::Object(object(table, depth + 1)),
    }
}

/// JSON as a table; or which name is too long for one.
pub(super) fn of_json(map: &Map<String, Value>) -> Result<FieldTable, String> {
    let mut table = FieldTable::default();
    for (name, value) in map {
        if name.len() > NAME_MAX {
            return Err(format!(
                "a header's name must be at most {NAME_MAX} bytes, is {}",
                name.len()
            ));
        }
        let name = ShortString::try_new(name.clone()).map_err(|error| error.to_string())?;
        table.insert(name, field(value)?);
    }
    Ok(table)
}

fn field(value: &Value) -> Result<AMQPValue, String> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(b) => AMQPValue::Boolean(*b),
        Value::Number(n) => match n.as_i64() {
            Some(n) => AMQPValue::LongLongInt(n),
            None => AMQPValue::Double(n.as_f64().unwrap_or_default()),
        },
        Value::String(s) => AMQPValue::LongString(LongString::from(s.as_bytes())),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(field).collect();
            AMQPValue::FieldArray(FieldArray::from(items?))
        }
        Value::Object(map) => AMQPValue::FieldTable(of_json(map)?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_survive_both_ways() {
        let headers = json!({"lang": "py", "id": "é", "retries": 2, "timelimit": [null, 1.5], "ignore_result": false,
            "stamps": {"a": ["b"]}, "group": null, "large": i64::MAX});
        let Value::Object(headers) = headers else { panic!() };
        let back = to_json(&of_json(&headers).unwrap());
        assert_eq!(Value::Object(back), Value::Object(headers));
    }

    #[test]
    fn what_has_no_counterpart_becomes_something_and_never_a_panic() {
        let mut table = FieldTable::default();
        table.insert("nan".into(), AMQPValue::Double(f64::NAN));
        table.insert("bytes".into(), AMQPValue::ByteArray(vec![0xff, b'a'].into()));
        let mut deep = AMQPValue::LongInt(1);
        for _ in 0..100 {
            deep = AMQPValue::FieldArray(vec![deep].into());
        }
        table.insert("deep".into(), deep);
        let json = to_json(&table);
        assert_eq!(
            (&json["nan"], &json["bytes"]),
            (&Value::Null, &json!("\u{fffd}a"))
        );
        let mut depth = 0;
        let mut at = &json["deep"];
        while let Some(inner) = at.get(0) {
            (at, depth) = (inner, depth + 1);
        }
        assert_eq!((depth, at), (DEPTH_MAX, &Value::Null));
        assert!(of_json(&Map::from_iter([("x".repeat(256), json!(1))])).is_err());
        assert!(of_json(&Map::from_iter([("n".into(), json!(u64::MAX))])).is_ok());
    }
}
