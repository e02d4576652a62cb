//! The lines of an export; `docs/durability.md` shows one of each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The version of these lines.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first one.
    HawkerExport {
        format: u32,
    },
    Session(SessionLine),
    SessionUser(UserLine),
    SharedGroup(GroupLine),
    Message(MessageLine),
}

/// A session, before every message it is owed.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionLine {
    pub(super) client_id: String,
    /// 4,294,967,295 is never.
    pub(super) expiry_interval_seconds: u32,
    /// Since when its client is away; absent if it was connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) away_since_micros: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) subscriptions: Vec<SubscriptionLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) will: Option<WillLine>,
    /// The ordinal of the last message it was ever owed.
    #[serde(default)]
    pub(super) last_ordinal: u64,
    /// The ordinal of the last message that was sent to it.
    #[serde(default)]
    pub(super) sent_through: u64,
    /// Packet identifiers of QoS 2 messages from it that it has not released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unreleased_packet_ids: Vec<u16>,
    /// Ordinals of QoS 2 messages that it has received and not completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) received_ordinals: Vec<u64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionLine {
    pub(super) filter: String,
    pub(super) qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) no_local: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) retain_as_published: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) retain_handling: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) identifier: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WillLine {
    pub(super) topic: String,
    pub(super) qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) retain: bool,
    #[serde(flatten)]
    pub(super) content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message_expiry_interval_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) delay_interval_seconds: u32,
}

/// Whose a session is, behind it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserLine {
    pub(super) client_id: String,
    /// Absent: its client named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}

/// A shared group that keeps its messages, before every message it is owed.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupLine {
    /// `$share/{group}/{filter}`.
    pub(super) name: String,
}

/// A message that somebody is owed, or that is retained.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageLine {
    pub(super) topic: String,
    /// As it was published.
    pub(super) qos: u8,
    /// Whether it was published to be retained.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) retain: bool,
    /// Whether it is its topic's retained message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) is_retained_message: bool,
    #[serde(flatten)]
    pub(super) content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at_micros: Option<u64>,
    /// Orders retained messages of a topic.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) stamp: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) owed: Vec<OwedLine>,
}

/// Who is owed a message: a session or a shared group.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwedLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shared_group: Option<String>,
    /// Its place among all that is owed there; the next one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordinal: Option<u64>,
    pub(super) qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) subscription_identifiers: Vec<u32>,
}

/// Payload and properties: text where they are, base64 where they are not.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// As MQTT 5.0 encodes them, without the length before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties_base64: Option<String>,
}

impl Content {
    pub(super) fn of(properties: &[u8], payload: &[u8]) -> Content {
        let text = std::str::from_utf8(payload).ok().map(str::to_owned);
        let payload_base64 = text.is_none().then(|| STANDARD.encode(payload));
        let properties_base64 = (!properties.is_empty()).then(|| STANDARD.encode(properties));
        Content { payload: text, payload_base64, properties_base64 }
    }

    /// Properties and payload.
    ///
    /// # Errors
    ///
    /// If it is not base64 where it should be, or both text and base64.
    pub(super) fn parts(&self) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let decode = |text: &String| STANDARD.decode(text).map_err(|_| "this is not base64");
        let payload = match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => return Err("`payload` and `payload_base64` exclude each other"),
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(encoded)) => decode(encoded)?,
            (None, None) => Vec::new(),
        };
        let properties = self.properties_base64.as_ref().map(decode).transpose()?;
        Ok((properties.unwrap_or_default(), payload))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
