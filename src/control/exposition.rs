//! The two text formats that a scraper reads: that of Prometheus, and OpenMetrics.
//!
//! They differ in what a family is called, in units and in the end. What is measured is in
//! `metrics`.

use std::fmt::{Display, Write as _};

use crate::metrics::Durations;

/// How the figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// <https://prometheus.io/docs/instrumenting/exposition_formats>
    Prometheus,
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec>
    OpenMetrics,
}

impl Format {
    /// What a scraper asks for in its header Accept; who asks for nothing gets Prometheus.
    pub(super) fn asked_for(accept: &str) -> Format {
        let wants = |kind: &str| {
            let mut parts = kind.split(';').map(str::trim);
            let is_it = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            // A weight of 0 says that it is not acceptable.
            is_it && !parts.any(|part| part.strip_prefix("q=").is_some_and(is_zero))
        };
        if accept.split(',').any(wants) { Format::OpenMetrics } else { Format::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

fn is_zero(weight: &str) -> bool {
    weight.parse::<f32>().is_ok_and(|weight| weight == 0.0)
}

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only goes up; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound.
    Histogram,
    /// Always 1: its labels say it; its name ends in `_info`.
    Info,
}

/// Figures as text.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// Samples of one name.
pub(super) struct Family<'a> {
    name: &'a str,
    text: &'a mut String,
}

/// A label's name and value.
pub(super) type Label<'a> = (&'a str, &'a dyn Display);

impl Exposition {
    pub(super) fn new(format: Format) -> Exposition {
        Exposition { format, text: String::new() }
    }

    /// Begins a family; its samples follow.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let (title, kind_name) = match (self.format, kind) {
            (Format::Prometheus, Kind::Counter) => (name, "counter"),
            (Format::Prometheus, Kind::Gauge | Kind::Info) => (name, "gauge"),
            (_, Kind::Histogram) => (name, "histogram"),
            (Format::OpenMetrics, Kind::Gauge) => (name, "gauge"),
            (Format::OpenMetrics, Kind::Counter) => {
                (name.strip_suffix("_total").unwrap_or(name), "counter")
            }
            (Format::OpenMetrics, Kind::Info) => {
                (name.strip_suffix("_info").unwrap_or(name), "info")
            }
        };
        let text = &mut self.text;
        let _ = writeln!(text, "# HELP {title} {help}\n# TYPE {title} {kind_name}");
        if self.format == Format::OpenMetrics
            && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| is_unit(title, unit))
        {
            let _ = writeln!(text, "# UNIT {title} {unit}");
        }
        Family { name, text }
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

fn is_unit(title: &str, unit: &str) -> bool {
    title.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.series("", labels, value);
        self
    }

    pub(super) fn durations(&mut self, labels: &[Label<'_>], durations: &Durations) -> &mut Self {
        let mut all = 0;
        for (bound, count) in durations.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |micros| canonical(seconds(micros)));
            let bounded: Vec<Label<'_>> =
                labels.iter().copied().chain([("le", &bound as _)]).collect();
            self.series("_bucket", &bounded, count);
            all = count;
        }
        self.series("_sum", labels, seconds(durations.sum_micros));
        self.series("_count", labels, all);
        self
    }

    fn series(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{name}=\"{}\"", escaped(&value.to_string()));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }
}

/// A label's value with what would end it made harmless: listeners are called what the
/// configuration says.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A bound as both formats write it, so that its series is the same in both: 1 is `1.0`.
fn canonical(bound: f64) -> String {
    if bound.fract() == 0.0 { format!("{bound:.1}") } else { bound.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_accept_chooses_the_format() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0;q=0", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2",
                Format::OpenMetrics,
            ),
            ("text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0", Format::OpenMetrics),
        ] {
            assert_eq!(Format::asked_for(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn each_format_is_written_by_its_own_rules() {
        let text = |format| {
            let mut page = Exposition::new(format);
            page.family("x_bytes_total", Kind::Counter, "Bytes.").sample(&[("shard", &0)], 7);
            page.family("x_build_info", Kind::Info, "What.").sample(&[("name", &"a\"\\b")], 1);
            page.family("x_open", Kind::Gauge, "Open.").sample(&[], 2.5);
            page.end()
        };
        let prometheus = "# HELP x_bytes_total Bytes.\n# TYPE x_bytes_total counter\n\
                          x_bytes_total{shard=\"0\"} 7\n\
                          # HELP x_build_info What.\n# TYPE x_build_info gauge\n\
                          x_build_info{name=\"a\\\"\\\\b\"} 1\n\
                          # HELP x_open Open.\n# TYPE x_open gauge\nx_open 2.5\n";
        assert_eq!(text(Format::Prometheus), prometheus);
        let open_metrics = "# HELP x_bytes Bytes.\n# TYPE x_bytes counter\n# UNIT x_bytes bytes\n\
                            x_bytes_total{shard=\"0\"} 7\n\
                            # HELP x_build What.\n# TYPE x_build info\n\
                            x_build_info{name=\"a\\\"\\\\b\"} 1\n\
                            # HELP x_open Open.\n# TYPE x_open gauge\nx_open 2.5\n# EOF\n";
        assert_eq!(text(Format::OpenMetrics), open_metrics);
    }

    #[test]
    fn a_histogram_has_bounds_a_sum_and_a_count() {
        let mut durations = Durations::default();
        durations.observe(20);
        durations.observe(1_000_000);
        let mut page = Exposition::new(Format::OpenMetrics);
        page.family("x_seconds", Kind::Histogram, "Time.").durations(&[], &durations);
        let text = page.end();
        for line in [
            "# UNIT x_seconds seconds",
            "x_seconds_bucket{le=\"0.00001\"} 0",
            "x_seconds_bucket{le=\"0.000025\"} 1",
            "x_seconds_bucket{le=\"1.0\"} 2",
            "x_seconds_bucket{le=\"+Inf\"} 2",
            "x_seconds_sum 1.00002",
            "x_seconds_count 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }
}
