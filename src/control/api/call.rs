//! One request: who asks, and what its parts say.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};

use super::{Api, Refusal};
use crate::control::access::Who;

/// Rows of a page unless the query says otherwise, and at most.
pub(super) const LIMIT_DEFAULT: usize = 50;
pub(super) const LIMIT_MAX: usize = 1000;

/// What a float holds exactly.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// A request that may be answered.
pub(super) struct Call {
    pub(super) api: Arc<Api>,
    pub(super) who: Who,
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Call {
    /// A part of the path; the route has it.
    pub(super) fn part(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(part, _)| part == name);
        found.map_or("", |(_, value)| value)
    }

    /// A part of the query; one that says nothing is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    fn given(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(part, _)| part == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A part of the query as what it should be.
    pub(super) fn value<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Refusal> {
        let wrong = |text| Refusal::wrong(format!("{name}={text:?}: expected {expected}"));
        self.given(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    /// Rows of a page.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        let expected = "a number from 1 to 1000";
        let limit = self.value("limit", expected)?.unwrap_or(LIMIT_DEFAULT);
        match limit {
            1..=LIMIT_MAX => Ok(limit),
            _ => Err(Refusal::wrong(format!("limit={limit}: expected {expected}"))),
        }
    }

    /// What is searched for, in lower case.
    pub(super) fn search(&self) -> String {
        self.text("search").unwrap_or_default().to_ascii_lowercase()
    }

    /// Where the page begins.
    pub(super) fn cursor(&self) -> Result<Option<String>, Refusal> {
        let Some(text) = self.text("cursor") else { return Ok(None) };
        let wrong = |_| Refusal::wrong("cursor: give what next_cursor of the last page said");
        let name = URL_SAFE_NO_PAD.decode(text).map_err(wrong)?;
        // A name that nobody has is a place in the order as well.
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    }

    /// The body as what it should be.
    pub(super) fn document<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::wrong(format!("the body is not what it should be: {error}")))
    }

    /// Notes in the log what was changed, and by whom.
    pub(super) fn audit(&self, action: &str, what: &str) {
        let (who, role, from) = (&self.who.name, self.who.role.name(), &self.who.address);
        tracing::info!(target: "hawker::audit", %who, role, %from, action, what);
    }
}

/// A whole number, which JSON may write with a fraction of zeros.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let is_whole = number.fract() == 0.0 && (0.0..=WHOLE_MAX).contains(&number);
    let whole = is_whole.then_some(number as u64).and_then(|number| T::try_from(number).ok());
    whole.ok_or_else(|| D::Error::custom(format!("found {number}, expected a whole number")))
}

/// A name as a cursor.
pub(super) fn cursor(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The parts of a query.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decoded(name)?, decoded(value)?))
    };
    let wrong = || Refusal::wrong("the query is not UTF-8 in percent encoding");
    let pairs: Vec<_> = parts.map(pair).collect::<Option<_>>().ok_or_else(wrong)?;
    let mut names = HashSet::new();
    match pairs.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => Err(Refusal::wrong(format!("{name}: given more than once"))),
        None => Ok(pairs),
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_may_have_a_fraction_of_zeros() {
        let parsed = |text: &str| whole::<_, u8>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(parsed("2").expect("it is whole"), 2);
        assert_eq!(parsed("2.0").expect("it is whole"), 2);
        for wrong in ["2.5", "-1", "256", "1e300", "\"2\"", "null"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_is_taken_apart() {
        let found = pairs("topic=a%2Fb&search=x+y&flag&&empty=").expect("it is right");
        let expected = [("topic", "a/b"), ("search", "x y"), ("flag", ""), ("empty", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
        for wrong in ["a=%", "a=%2", "a=%zz", "a=%ff", "a=1&a=1"] {
            assert!(pairs(wrong).is_err(), "{wrong}");
        }
    }
}
