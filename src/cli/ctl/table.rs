//! Rows under each other, for people.

use std::fmt;

use std::time::Duration;

use serde_json::Value;
use x509_cert::der::DateTime;

/// Longest text of a cell, in characters; the last column is as long as it is.
const CELL_CHARS_MAX: usize = 48;

/// Cells by row; the first row names the columns.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    /// Some columns of a list of objects.
    pub(super) fn of(list: &Value, columns: &[&str]) -> Table {
        let head = columns.iter().map(|column| title(column).to_uppercase().replace('_', " "));
        let mut cells = vec![head.collect()];
        for row in list.as_array().into_iter().flatten() {
            cells.push(columns.iter().map(|column| cell(column, &row[*column])).collect());
        }
        Table(cells)
    }
}

/// What ends the names of moments, which are milliseconds since 1970.
const MOMENT: &str = "_ms";

/// A name as people read it: a moment has no unit.
pub(super) fn title(name: &str) -> &str {
    name.strip_suffix(MOMENT).unwrap_or(name)
}

/// A value as people read it, a moment as RFC 3339 has it.
pub(super) fn cell(name: &str, value: &Value) -> String {
    let millis = value.as_u64().filter(|_| name.ends_with(MOMENT));
    let moment = millis.map(Duration::from_millis).map(DateTime::from_unix_duration);
    moment.and_then(Result::ok).map_or_else(|| plain(value), |moment| moment.to_string())
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(rows) = self;
        if rows.len() == 1 {
            return writeln!(f, "none");
        }
        let width = |column: usize| {
            let lengths = rows.iter().filter_map(|row| row.get(column));
            lengths.map(|cell| cell.chars().count()).max().unwrap_or(0).min(CELL_CHARS_MAX)
        };
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for row in rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let is_last = index + 1 == row.len();
                if is_last {
                    line.push_str(cell);
                } else {
                    line.push_str(&format!("{:width$}  ", shortened(cell)));
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn shortened(cell: &str) -> String {
    if cell.chars().count() <= CELL_CHARS_MAX {
        return cell.to_owned();
    }
    cell.chars().take(CELL_CHARS_MAX - 3).chain("...".chars()).collect()
}

/// A value as a text that does nothing to a terminal: names are chosen by clients.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => return "-".to_owned(),
        Value::Bool(true) => return "yes".to_owned(),
        Value::Bool(false) => return "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => return "-".to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let list = json!([{ "a": "x", "b": null, "c": 1 }, { "a": "long", "b": null, "c": true }]);
        let table = Table::of(&list, &["a", "b", "c"]).to_string();
        assert_eq!(table, "A     B  C\nx     -  1\nlong  -  yes\n", "whatever the rows hold");
        assert_eq!(Table::of(&json!([]), &["a"]).to_string(), "none\n");
    }

    #[test]
    fn a_moment_is_one_for_people() {
        let list = json!([{ "until_ms": 1_700_000_000_999_u64 }, { "until_ms": null }]);
        let table = Table::of(&list, &["until_ms"]).to_string();
        assert_eq!(table, "UNTIL\n2023-11-14T22:13:20Z\n-\n");
        assert_eq!(cell("subscriptions", &json!(7)), "7");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(plain(&json!("a\u{1b}[2Jb\n")), "a\u{fffd}[2Jb\u{fffd}");
        let long = json!([{ "a": "x".repeat(100), "b": "y" }]);
        let table = Table::of(&long, &["a", "b"]).to_string();
        assert!(table.contains("xxx...  y"), "{table}");
    }
}
