//! The configuration in force, and its reload.

use axum::http::StatusCode;
use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::call::Call;
use super::{Answer, Refusal, ok};
use crate::config::Setting;
use crate::runtime::ReloadError;

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn settings(call: Call) -> Answer {
    let setting = |setting: &Setting| {
        json!({
            "key": setting.key,
            "value": setting.value.as_deref().map_or(Value::Null, value),
            "origin": setting.origin.to_string(),
            "hidden": setting.is_hidden,
            "needs_restart": setting.needs_restart,
        })
    };
    let settings = call.api.desk.reloader.settings();
    ok(&json!({ "settings": settings.iter().map(setting).collect::<Vec<_>>() }))
}

pub(super) async fn reload(call: Call) -> Answer {
    let reloader = std::sync::Arc::clone(&call.api.desk.reloader);
    call.audit("reload", "");
    // It reads files, while others are answered.
    let outcome = tokio::task::spawn_blocking(move || reloader.reload()).await;
    let failed = |error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "reload_failed", error);
    match outcome.map_err(failed)? {
        Ok(waiting) => ok(&json!({ "applied": true, "restart_needed": waiting })),
        Err(ReloadError::Wrong(error)) => {
            ok(&json!({ "applied": false, "restart_needed": [], "error": error }))
        }
        Err(ReloadError::NoSource) => {
            let message = "the program that the broker is part of configures it";
            Err(Refusal::new(StatusCode::CONFLICT, "no_source", message))
        }
    }
}

/// A value of TOML as one of JSON; what has none there is told as a text.
fn value(text: &str) -> Value {
    let document = format!("value = {text}");
    let table = DeTable::parse(&document);
    let found = table.as_ref().ok().and_then(|table| table.get_ref().get("value"));
    found.map_or_else(|| json!(text), |found| json_of(found.get_ref()))
}

fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            number.map_or_else(|_| json!(integer.as_str()), |number| json!(number))
        }
        DeValue::Boolean(boolean) => json!(boolean),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Float(float) => json!(float.as_str()),
        DeValue::Datetime(datetime) => json!(datetime.to_string()),
        DeValue::Table(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_types() {
        assert_eq!(value("\"a\""), json!("a"));
        assert_eq!(value("1024"), json!(1024));
        assert_eq!(value("true"), json!(true));
        assert_eq!(value("[\"a\", 1]"), json!(["a", 1]));
        assert_eq!(value("16777216"), json!(16_777_216));
        assert_eq!(value("?"), json!("?"));
    }
}
