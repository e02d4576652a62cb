//! The properties of a message that the server hands on without looking at them.

use super::property::{Properties, Property};

/// The properties of a message that are handed on as they came.
///
/// Holds encoded properties; hop-by-hop ones among them (topic alias, message expiry interval,
/// subscription identifier) are left out when written.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardProperties<'a> {
    /// Encoded properties without the length before them.
    raw: &'a [u8],
    /// Bytes that remain when hop-by-hop properties are left out; `raw.len()` if there are none.
    len: usize,
}

impl<'a> ForwardProperties<'a> {
    /// No property.
    pub const NONE: ForwardProperties<'static> = ForwardProperties { raw: &[], len: 0 };

    /// Checked, encoded properties, of which as many bytes are to be handed on.
    #[inline]
    pub(super) fn new(raw: &'a [u8], len: usize) -> ForwardProperties<'a> {
        // Without anything to hand on there is nothing to keep.
        if len == 0 { ForwardProperties::NONE } else { ForwardProperties { raw, len } }
    }

    /// What [`ForwardProperties::write_to`] wrote, read back from where it was kept.
    #[inline]
    pub fn from_encoded(encoded: &'a [u8]) -> ForwardProperties<'a> {
        ForwardProperties { raw: encoded, len: encoded.len() }
    }

    /// Bytes of the properties that are handed on.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to hand on.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the properties, encoded, in the order they came, without a length before them.
    /// [MQTT-3.3.2-18]
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if self.len == self.raw.len() {
            out.extend_from_slice(self.raw);
        } else {
            self.write_filtered_to(out);
        }
    }

    #[cold]
    fn write_filtered_to(&self, out: &mut Vec<u8>) {
        for encoded in self.iter_encoded() {
            out.extend_from_slice(encoded);
        }
    }

    /// Each property that is handed on.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        Properties::of_checked(self.raw).filter(Property::is_forwarded)
    }

    /// The encoded properties that are handed on, one after another.
    fn iter_encoded(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut properties = Properties::of_checked(self.raw);
        std::iter::from_fn(move || properties.next_encoded())
            .filter(|(property, _)| property.is_forwarded())
            .map(|(_, encoded)| encoded)
    }
}

/// By content, whatever is left out in between.
impl PartialEq for ForwardProperties<'_> {
    fn eq(&self, other: &ForwardProperties<'_>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for ForwardProperties<'_> {}
