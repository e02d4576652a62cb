//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.

use super::{PacketId, QoS, ReasonCode, SubscriptionFilter, UserProperties, Version};

/// A SUBSCRIBE packet: at least one filter. [MQTT-3.8.3-2]
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Answered by the SUBACK of the same identifier. [MQTT-3.8.4-2]
    pub packet_id: PacketId,
    /// 1 to 268,435,455; sent along with every message of these subscriptions.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The filters with their options, in the order of the packet; every one is legal.
    pub filters: SubscribeFilters<'a>,
}

/// The filters of a SUBSCRIBE packet: checked once when decoded, then read again on iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubscribeFilters<'a> {
    encoded: &'a [u8],
    version: Version,
}

/// One filter of a SUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterAndOptions<'a> {
    /// What to match, and in which shared group.
    pub filter: SubscriptionFilter<'a>,
    /// How to deliver.
    pub options: SubscriptionOptions,
}

/// The options byte of a subscription; only the QoS in 3.1 and 3.1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Messages of the same client are not sent back to it. [MQTT-3.8.3-3]
    pub no_local: bool,
    /// Keep the retain flag as published. [MQTT-3.3.1-13]
    pub retain_as_published: bool,
    /// Whether retained messages are sent now.
    pub retain_handling: RetainHandling,
}

/// When a subscription gets retained messages. [MQTT-3.3.1-9, -10, -11]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only if the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// A SUBACK packet.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// A byte a filter: the granted QoS or a reason code as the version writes it.
    pub reasons: &'a [u8],
}

/// An UNSUBSCRIBE packet: at least one filter. [MQTT-3.10.3-2]
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Answered by the UNSUBACK of the same identifier. [MQTT-3.10.4-4]
    pub packet_id: PacketId,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The filters in the order of the packet; every one is legal.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnsubscribeFilters<'a> {
    encoded: &'a [u8],
}

/// An UNSUBACK packet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsubAck<'a> {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// A reason code a filter in 5.0; empty before.
    pub reasons: &'a [u8],
}
