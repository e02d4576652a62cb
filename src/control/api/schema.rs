//! What requests may say and answers say, as JSON Schema: the details of the OpenAPI document.

use serde_json::{Value, json};

use super::bans::{SECONDS_MAX, WHY_CHARS_MAX};
use super::call::{LIMIT_DEFAULT, LIMIT_MAX};
use super::publish::BATCH_MAX;
use super::traces::{MINUTES_MAX, PAYLOAD_BYTES_MAX};
use crate::shard::Why;

/// A topic name that clients may publish to, and one that may be the broker's own.
const TOPIC: &str = r"^[^+#$\u0000][^+#\u0000]*$";
const ANY_TOPIC: &str = r"^[^+#\u0000]*$";

/// A topic filter, or nothing.
const FILTER: &str = r"^(#|([^+#/$\u0000][^+#/\u0000]*|\+)?(/([^+#/\u0000]*|\+))*(/#)?)$";

/// Bytes in base64, and in the one that URLs take, without bits that mean nothing.
const BASE64: &str = "^([A-Za-z0-9+/]{4})*\
                      ([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
const CURSOR: &str = "^([A-Za-z0-9_-]{4})*\
                      ([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$";

/// What a part of a path or a query may be.
pub(super) fn parameter(path: &str, name: &str) -> Value {
    match name {
        "limit" => json!({
            "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT,
        }),
        "qos" => json!({ "type": "integer", "enum": [0, 1, 2], "default": 0 }),
        "state" => json!({ "type": "string", "enum": ["", "connected", "away"] }),
        "session" => json!({ "type": "string", "enum": ["", "keep", "forget"] }),
        "cursor" if path == "/drops" => text(r"^([0-9]{1,15}\.[0-9]{1,2}\.[0-9]{1,15})?$"),
        "cursor" => json!({ "type": "string", "pattern": CURSOR }),
        "filter" => text(FILTER),
        "topic" if path == "/subscriptions" => text(ANY_TOPIC),
        "topic" => text(TOPIC),
        "kind" => json!({ "type": "string", "enum": ["", "address", "user", "client_id"] }),
        "why" => {
            let names = Why::ALL.iter().map(|why| why.name());
            json!({ "type": "string", "enum": names.chain([""]).collect::<Vec<_>>() })
        }
        "after" => json!({ "type": "integer", "minimum": 0, "default": 0 }),
        _ => json!({ "type": "string" }),
    }
}

/// What a body has to be, if the route takes one.
pub(super) fn body(path: &str) -> Option<Value> {
    let schema = match path {
        "/publish" => message(),
        "/publish/batch" => json!({ "type": "array", "items": message(), "maxItems": BATCH_MAX }),
        "/bans" => json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["seconds"],
            "properties": {
                "address": { "anyOf": [address(), { "type": "null" }] },
                "user": { "type": ["string", "null"], "minLength": 1 },
                "client_id": { "type": ["string", "null"], "minLength": 1 },
                "seconds": { "type": "integer", "minimum": 1, "maximum": SECONDS_MAX },
                "why": { "type": "string", "maxLength": WHY_CHARS_MAX },
            },
            "oneOf": [is_given("address"), is_given("user"), is_given("client_id")],
        }),
        "/traces" => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "client_id": { "type": ["string", "null"], "minLength": 1 },
                "filter": { "type": ["string", "null"], "minLength": 1, "pattern": FILTER },
                "address": { "anyOf": [address(), { "type": "null" }] },
                "minutes": { "type": "integer", "minimum": 1, "maximum": MINUTES_MAX },
                "payload_bytes": { "type": "integer", "minimum": 0, "maximum": PAYLOAD_BYTES_MAX },
            },
            "oneOf": [is_given("client_id"), is_given("filter"), is_given("address")],
        }),
        "/explain" => json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["client_id", "topic"],
            "properties": {
                "client_id": { "type": "string" },
                "topic": text(TOPIC),
                "qos": { "type": "integer", "enum": [0, 1, 2] },
                "retain": { "type": "boolean" },
                "user": { "type": ["string", "null"] },
            },
        }),
        _ => return None,
    };
    Some(schema)
}

/// What the answer is when all went well.
pub(super) fn answer(path: &str, is_get: bool) -> Value {
    match path {
        "/clients" if is_get => page("clients"),
        "/subscriptions" => page("subscriptions"),
        "/retained" => page("retained"),
        "/drops" => page("drops"),
        "/traces" if is_get => object(&["traces"]),
        "/bans" if is_get => list(&["kind", "name", "until_ms", "seconds_left", "why", "by"]),
        "/bans" => object(&["kind", "name", "until_ms", "seconds_left", "why", "by"]),
        "/publish" => object(&["reason", "reason_code"]),
        "/publish/batch" => list(&["reason", "reason_code"]),
        "/explain" => object(&["client_id", "topic", "publish", "outcome", "matches", "total"]),
        "/config" => object(&["settings"]),
        "/reload" => object(&["applied"]),
        "/backups" if is_get => object(&["running", "last", "ended_early"]),
        "/backups" => object(&["ticket", "file", "bytes", "taken_at_ms"]),
        "/shards" | "/listeners" | "/log" => json!({ "type": ["array", "object"] }),
        _ => object(&[]),
    }
}

fn message() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["topic"],
        "properties": {
            "topic": text(TOPIC),
            "payload": { "type": ["string", "null"] },
            "payload_base64": { "type": ["string", "null"], "pattern": BASE64 },
            "qos": { "type": "integer", "enum": [0, 1, 2] },
            "retain": { "type": "boolean" },
        },
        "not": {
            "required": ["payload", "payload_base64"],
            "properties": {
                "payload": { "type": "string" },
                "payload_base64": { "type": "string" },
            },
        },
    })
}

fn is_given(name: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "type": "string" } } })
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn address() -> Value {
    json!({ "anyOf": [
        { "type": "string", "format": "ipv4" },
        { "type": "string", "format": "ipv6" },
    ] })
}

fn object(required: &[&str]) -> Value {
    json!({ "type": "object", "required": required })
}

fn list(required: &[&str]) -> Value {
    json!({ "type": "array", "items": object(required) })
}

fn page(rows: &str) -> Value {
    json!({
        "type": "object",
        "required": [rows, "total"],
        "properties": {
            rows: { "type": "array", "items": { "type": "object" } },
            "total": { "type": "integer" },
            "next_cursor": { "type": ["string", "null"] },
        },
    })
}
