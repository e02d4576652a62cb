//! A value as the operator gave it, and where.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Fault, Origin, Problem};

/// A value with its place; the raw side of the configuration.
pub(super) struct Found<'a> {
    /// The full name of its key.
    pub(super) key: String,
    /// Where it stands.
    pub(super) origin: Origin,
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    /// From the file: its type is known.
    Toml(&'a Spanned<DeValue<'a>>, &'a Lines),
    /// From the environment or a flag: its type is what the key wants.
    Text(&'a str),
}

/// Longest part of a value repeated in an error.
const SHOWN_CHARS_MAX: usize = 60;

impl<'a> Found<'a> {
    /// A value from the environment or a flag.
    pub(super) fn text(key: &str, origin: Origin, text: &'a str) -> Found<'a> {
        Found { key: key.to_owned(), origin, value: Value::Text(text) }
    }

    /// The keys of a file's table; `prefix` is the table's own name, empty for the whole file.
    pub(super) fn entries_of(
        table: &'a DeTable<'a>,
        lines: &'a Lines,
        prefix: &str,
    ) -> Vec<(&'a str, Found<'a>)> {
        let entry = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name_text: &'a std::borrow::Cow<'a, str> = name.get_ref();
            let key = if prefix.is_empty() {
                name_text.to_string()
            } else {
                format!("{prefix}.{name_text}")
            };
            let origin = lines.origin(name.span().start);
            (&**name_text, Found { key, origin, value: Value::Toml(value, lines) })
        };
        table.iter().map(entry).collect()
    }

    /// Its keys, if it is a table.
    pub(super) fn entries(&self) -> Option<Vec<(&'a str, Found<'a>)>> {
        match self.value {
            Value::Toml(value, lines) => {
                let table = value.get_ref().as_table()?;
                Some(Found::entries_of(table, lines, &self.key))
            }
            Value::Text(_) => None,
        }
    }

    /// Its elements, if it is an array, or a text with commas.
    pub(super) fn items(&self) -> Option<Vec<Found<'a>>> {
        let found = |(index, (origin, value))| Found {
            key: format!("{}[{index}]", self.key),
            origin,
            value,
        };
        match self.value {
            Value::Toml(value, lines) => {
                let place = |item: &'a Spanned<DeValue<'a>>| {
                    (lines.origin(item.span().start), Value::Toml(item, lines))
                };
                let array = value.get_ref().as_array()?;
                Some(array.iter().map(place).enumerate().map(found).collect())
            }
            Value::Text(text) => {
                let place = |item: &'a str| (self.origin.clone(), Value::Text(item.trim()));
                Some(text.split(',').map(place).enumerate().map(found).collect())
            }
        }
    }

    /// What becomes of each of its elements. `list` and `element` are what may stand there; every
    /// element that cannot be taken is told by its own place.
    pub(super) fn each<T>(
        &self,
        list: &str,
        element: &str,
        problems: &mut Vec<Problem>,
        take: impl Fn(&Found<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(items) = self.items() else {
            problems.push(self.unsuitable(list.to_owned(), None));
            return None;
        };
        let mut taken = Vec::with_capacity(items.len());
        for item in &items {
            match take(item) {
                Some(value) => taken.push(value),
                None => problems.push(item.unsuitable(element.to_owned(), None)),
            }
        }
        (taken.len() == items.len()).then_some(taken)
    }

    /// The whole number it is.
    pub(super) fn integer(&self) -> Option<i128> {
        match self.value {
            Value::Toml(value, _) => {
                let integer = value.get_ref().as_integer()?;
                i128::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Value::Text(text) => text.parse().ok(),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Toml(value, _) => value.get_ref().as_bool(),
            Value::Text(text) => text.parse().ok(),
        }
    }

    /// The text it is.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match self.value {
            Value::Toml(value, _) => value.get_ref().as_str(),
            Value::Text(text) => Some(text),
        }
    }

    /// As it is named in an error.
    pub(super) fn describe(&self) -> String {
        match self.value {
            Value::Toml(value, _) => match value.get_ref() {
                DeValue::String(text) => quoted(text),
                DeValue::Integer(integer) => integer.to_string(),
                DeValue::Float(float) => float.to_string(),
                DeValue::Boolean(boolean) => boolean.to_string(),
                DeValue::Datetime(datetime) => format!("the date {datetime}"),
                DeValue::Array(_) => "an array".to_owned(),
                DeValue::Table(_) => "a table".to_owned(),
            },
            Value::Text(text) => quoted(text),
        }
    }

    /// That it cannot be taken.
    pub(super) fn unsuitable(&self, expected: String, mend: Option<String>) -> Problem {
        self.problem(Fault::Unsuitable { found: self.describe(), expected, mend })
    }

    /// A problem at this place.
    pub(super) fn problem(&self, fault: Fault) -> Problem {
        Problem { origin: self.origin.clone(), key: self.key.clone(), fault }
    }
}

fn quoted(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return format!("{text:?}");
    }
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{shown:?}...")
}

/// Where the lines of a file begin.
pub(super) struct Lines {
    file: Arc<Path>,
    starts: Vec<usize>,
    end: usize,
}

impl Lines {
    pub(super) fn new(file: &Path, bytes: &[u8]) -> Lines {
        let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(index, _)| index + 1)).collect();
        Lines { file: file.into(), starts, end: bytes.len() }
    }

    /// The line of a byte.
    pub(super) fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        Origin::File { file: Arc::clone(&self.file), line }
    }
    /// The bytes of the line around a byte, without its newline.
    pub(super) fn around(&self, offset: usize) -> Range<usize> {
        let next = self.starts.partition_point(|start| *start <= offset);
        let end = self.starts.get(next).map_or(self.end, |start| start - 1);
        self.starts[next - 1]..end
    }
}
