//! The properties of MQTT 5.0: identifiers, types, where each may stand.

/// One user property: a name and a value.
pub type UserProperty<'a> = (&'a str, &'a str);

/// User properties in the order they stand. [MQTT-3.3.2-18]
#[derive(Clone, Copy, Debug)]
pub enum UserProperties<'a> {
    /// To be written.
    Plain(&'a [UserProperty<'a>]),
    /// As read: checked, encoded properties in which user properties (0x26) are looked up.
    Encoded(&'a [u8]),
}
