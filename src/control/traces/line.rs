//! What happened, as a line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::proto::PacketType;
use crate::shard::{Decision, Step, TraceEvent};
use crate::time::Time;

/// Something that a shard noted.
pub(super) fn event(number: u64, shard: usize, event: &TraceEvent) -> Value {
    let (direction, name) = names(event.step);
    let mut line = json!({
        "number": number,
        "at_us": event.at.as_micros(),
        "shard": shard,
        "direction": direction,
        "event": name,
    });
    if let Some(client_id) = &event.client_id {
        line["client_id"] = json!(&**client_id);
    }
    if let Some(address) = event.address {
        line["address"] = json!(address);
    }
    if let Some(packet_id) = event.packet_id {
        line["packet_id"] = json!(packet_id.get());
    }
    if let Some(message) = &event.message {
        line["topic"] = json!(message.topic);
        line["qos"] = json!(message.qos as u8);
        line["retain"] = json!(message.retain);
        line["dup"] = json!(message.dup);
        line["bytes"] = json!(message.bytes);
        if !message.payload.is_empty() {
            line["payload_base64"] = json!(STANDARD.encode(&message.payload));
        }
    }
    if let Some(reason) = event.reason {
        line["reason"] = json!(reason.to_string());
        line["reason_code"] = json!(reason.as_u8());
    }
    if let Some(detail) = &event.detail {
        line["detail"] = json!(detail);
    }
    line
}

/// What found no room before it could be written.
pub(super) fn lost(number: u64, now: Time, count: u64) -> Value {
    let detail = format!("{count} events were not noted: more came than a shard holds for a trace");
    of_the_trace(number, now, "lost", &detail)
}

/// The last line.
pub(super) fn ended(number: u64, now: Time, why: &str) -> Value {
    of_the_trace(number, now, "ended", why)
}

fn of_the_trace(number: u64, now: Time, event: &str, detail: &str) -> Value {
    json!({
        "number": number,
        "at_us": now.as_micros(),
        "direction": "trace",
        "event": event,
        "detail": detail,
    })
}

fn names(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Received(packet_type) => ("in", packet(packet_type)),
        Step::Sent(packet_type) => ("out", packet(packet_type)),
        Step::Decided(decision) => ("broker", decided(decision)),
    }
}

fn packet(packet_type: PacketType) -> &'static str {
    match packet_type {
        PacketType::Connect => "connect",
        PacketType::ConnAck => "connack",
        PacketType::Publish => "publish",
        PacketType::PubAck => "puback",
        PacketType::PubRec => "pubrec",
        PacketType::PubRel => "pubrel",
        PacketType::PubComp => "pubcomp",
        PacketType::Subscribe => "subscribe",
        PacketType::SubAck => "suback",
        PacketType::Unsubscribe => "unsubscribe",
        PacketType::UnsubAck => "unsuback",
        PacketType::PingReq => "pingreq",
        PacketType::PingResp => "pingresp",
        PacketType::Disconnect => "disconnect",
        PacketType::Auth => "auth",
    }
}

fn decided(decision: Decision) -> &'static str {
    match decision {
        Decision::Asked => "asked",
        Decision::Refused => "refused",
        Decision::Routed => "routed",
        Decision::Queued => "queued",
        Decision::Delivered => "delivered",
        Decision::Dropped => "dropped",
        Decision::Paused => "paused",
        Decision::TakenOver => "taken_over",
        Decision::Closed => "closed",
        Decision::SessionEnded => "session_ended",
        Decision::WillPublished => "will_published",
    }
}
