//! Reports and comparisons as text.

use std::fmt::Write;

use crate::compare::{Row, RunSet, Spread, compare};
use crate::report::Report;

/// One run as a table.
#[must_use]
pub fn report(report: &Report) -> String {
    let mut text = format!("{} against {} ({})\n", report.scenario, report.label, report.target);
    let settings: Vec<String> =
        report.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let _ = writeln!(text, "  {}", settings.join(", "));
    // The latencies have lines of their own.
    let is_share = |name: &str| {
        let mut names = report.latencies.iter().map(|latency| &latency.name);
        names.any(|latency| name.strip_prefix(latency).is_some_and(|rest| rest.starts_with(" p")))
    };
    for figure in report.figures.iter().filter(|figure| !is_share(&figure.name)) {
        let value = number(figure.value);
        let _ = writeln!(text, "  {:<42}{value:>12} {}", figure.name, figure.unit);
    }
    for latency in &report.latencies {
        let ms = |us: u64| number(us as f64 / 1e3);
        let _ = writeln!(
            text,
            "  {:<42}p50 {}  p90 {}  p99 {}  p99.9 {}  max {}  (ms, {} recorded)",
            format!("{} latency", latency.name),
            ms(latency.p50_us),
            ms(latency.p90_us),
            ms(latency.p99_us),
            ms(latency.p999_us),
            ms(latency.max_us),
            latency.count,
        );
    }
    text.push_str(&faults(report));
    for remark in &report.remarks {
        let _ = writeln!(text, "  note: {remark}");
    }
    for limit in &report.broken_limits {
        let _ = writeln!(text, "  LIMIT BROKEN: {limit}");
    }
    text
}

fn faults(report: &Report) -> String {
    let found: Vec<String> = report
        .faults
        .named()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if found.is_empty() {
        "  no message lost, duplicated, out of order, corrupt or misrouted\n".to_string()
    } else {
        format!("  FAULTS: {}\n", found.join(", "))
    }
}

/// The medians of several runs of one broker, or of two.
#[must_use]
pub fn run_set(set: &RunSet) -> String {
    let mut text = String::new();
    let all = set.runs.iter().chain(&set.against);
    for report in all.filter(|report| !report.is_passed()) {
        let _ = writeln!(text, "{}: {}", report.label, report.broken_limits.join("; "));
    }
    let label = |runs: &[Report]| runs.first().map_or(String::new(), |run| run.label.clone());
    if set.against.is_empty() {
        let rows = compare(&set.runs, &set.runs);
        let _ = writeln!(text, "medians of {} runs of {}", set.runs.len(), label(&set.runs));
        for row in rows {
            let _ = writeln!(text, "  {:<42}{} {}", row.name, spread(&row.a), row.unit);
        }
        return text;
    }
    text.push_str(&comparison(&label(&set.runs), &label(&set.against), set));
    text
}

/// Two brokers side by side.
#[must_use]
pub fn comparison(label_a: &str, label_b: &str, set: &RunSet) -> String {
    let counts = (set.runs.len(), set.against.len());
    let mut text = format!(
        "A = {label_a} ({} runs), B = {label_b} ({} runs); medians, in brackets the extremes\n",
        counts.0, counts.1
    );
    let _ = writeln!(text, "  {:<38} {:>32} {:>32} {:>25}", "", "A", "B", "A / B");
    for row in compare(&set.runs, &set.against) {
        text.push_str(&comparison_row(&row));
    }
    text
}

fn comparison_row(row: &Row) -> String {
    let name =
        if row.unit.is_empty() { row.name.clone() } else { format!("{}, {}", row.name, row.unit) };
    let ratio = row.ratio.map_or("-".to_string(), |ratio| {
        format!("{:.3} [{:.3} {:.3}]", ratio.median, ratio.min, ratio.max)
    });
    format!("  {name:<38} {:>32} {:>32} {ratio:>25}\n", spread(&row.a), spread(&row.b))
}

fn spread(spread: &Spread) -> String {
    format!("{} [{} {}]", number(spread.median), number(spread.min), number(spread.max))
}

/// A number with about four digits that matter.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => grouped(value),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_string() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_matters() {
        let shown = [0.1544, 9.876, 54.321, 999.94, 1000.0, 1_234_567.8, -2500.0].map(number);
        assert_eq!(shown, ["0.154", "9.876", "54.32", "999.9", "1,000", "1,234,568", "-2,500"]);
    }
}
