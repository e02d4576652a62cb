//! Results as one HTML page that needs nothing else: tables, and plots as inline SVG.

use std::fmt::Write;

use crate::compare::{RunSet, compare};
use crate::plot::{Line, Plot};
use crate::report::{Moment, Report};
use crate::table::number;

/// The page of a set of runs.
#[must_use]
pub fn page(set: &RunSet) -> String {
    let mut body = String::new();
    let title = set.runs.first().map_or_else(String::new, |run| run.scenario.clone());
    let _ = writeln!(body, "<h1>MQTT load: {}</h1>", escape(&title));
    body.push_str(&heading(set));
    body.push_str(&plots(set));
    if set.against.is_empty() {
        body.push_str(&figures(&set.runs));
    } else {
        body.push_str(&comparison(set));
    }
    body.push_str(&findings(set));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>MQTT load: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n\
         </html>\n",
        escape(&title)
    )
}

fn heading(set: &RunSet) -> String {
    let mut text = String::from("<p>");
    for runs in [&set.runs, &set.against] {
        let Some(run) = runs.first() else { continue };
        let command = run.command_line.as_deref().unwrap_or("process not watched");
        let _ = write!(
            text,
            "<b>{}</b> at {}, {} runs <code>{}</code><br>",
            escape(&run.label),
            escape(&run.target),
            runs.len(),
            escape(command)
        );
    }
    text.push_str("</p>\n<p>");
    for (name, value) in set.runs.first().iter().flat_map(|run| &run.settings) {
        let _ = write!(text, "<span class=\"setting\">{} {}</span> ", escape(name), escape(value));
    }
    text.push_str("</p>\n");
    text
}

/// What a plot shows of one run.
type Points = fn(&Report) -> Vec<(f64, f64)>;

/// Title, horizontal axis, vertical axis, points.
const PLOTS: [(&str, &str, &str, Points); 6] = [
    (LATENCY, "nines of all deliveries", "ms", latency_curve),
    ("Deliveries", "s", "msg/s", |run| {
        rates(&run.timeline, |moment| Some(moment.delivered as f64))
    }),
    ("Broker CPU", "s", "%", |run| rates(&run.timeline, |moment| Some(100.0 * moment.cpu_s?))),
    ("Broker memory", "s", "MiB", |run| {
        let mib = |moment: &Moment| Some(moment.resident_bytes? as f64 / crate::scenario::MIB);
        run.timeline.iter().filter_map(|moment| Some((moment.at_s, mib(moment)?))).collect()
    }),
    ("Connections", "s", "", |run| {
        run.timeline.iter().map(|moment| (moment.at_s, moment.online as f64)).collect()
    }),
    ("Broker memory per connection", "connections", "B", |run| {
        memory_per_connection(&run.timeline)
    }),
];

/// The plot whose vertical axis goes by powers of ten.
const LATENCY: &str = "Latency of delivery";

fn plots(set: &RunSet) -> String {
    let mut text = String::from("<div class=\"plots\">\n");
    for (title, x_name, y_name, points) in PLOTS {
        let sides = [(&set.runs, 0), (&set.against, 1)];
        let runs = sides.iter().flat_map(|(runs, side)| runs.iter().map(move |run| (run, *side)));
        let lines: Vec<Line> = runs
            .map(|(run, side)| Line { name: run.label.clone(), side, points: points(run) })
            .collect();
        if lines.iter().any(|line| line.points.len() > 1) {
            let is_logarithmic = title == LATENCY;
            text.push_str(&Plot { title, x_name, y_name, is_logarithmic, lines }.svg());
        }
    }
    text.push_str("</div>\n");
    text
}

/// The growth of a count from moment to moment, a second.
fn rates(timeline: &[Moment], count: impl Fn(&Moment) -> Option<f64>) -> Vec<(f64, f64)> {
    let steps = timeline.windows(2).filter_map(|pair| {
        let elapsed_s = pair[1].at_s - pair[0].at_s;
        let grown = count(&pair[1])? - count(&pair[0])?;
        (elapsed_s > 0.0 && grown >= 0.0).then(|| (pair[1].at_s, grown / elapsed_s))
    });
    steps.collect()
}

/// While connections grow: memory above that of the first moment, shared out among them.
fn memory_per_connection(timeline: &[Moment]) -> Vec<(f64, f64)> {
    let Some(first) = timeline.first() else { return Vec::new() };
    let most = timeline.iter().map(|moment| moment.online).max().unwrap_or(0);
    let growing = timeline.iter().take_while(|moment| moment.online < most);
    let at_most = timeline.iter().find(|moment| moment.online == most);
    let points = growing.chain(at_most).filter_map(|moment| {
        let grown = moment.resident_bytes?.saturating_sub(first.resident_bytes?) as f64;
        let is_many = moment.online >= 100;
        is_many.then(|| (moment.online as f64, grown / moment.online as f64))
    });
    points.collect()
}

/// Latency over the number of nines: 90 % is 1, 99 % is 2.
fn latency_curve(run: &Report) -> Vec<(f64, f64)> {
    let Some(latency) = run.latencies.iter().find(|latency| latency.name == "delivery") else {
        return Vec::new();
    };
    // Beyond what was recorded the curve would only be a level line.
    let nines_max = (latency.count.max(1) as f64).log10();
    let points = latency.curve.iter().map(|&(share, latency_us)| {
        let nines = if share < 1.0 { -(1.0 - share).log10() } else { nines_max };
        (nines.min(nines_max), (latency_us as f64 / 1e3).max(0.001))
    });
    points.collect()
}

fn figures(runs: &[Report]) -> String {
    let mut text = String::from("<table>\n<tr><th>figure</th>");
    for index in 1..=runs.len() {
        let _ = write!(text, "<th>run {index}</th>");
    }
    text.push_str("<th>unit</th></tr>\n");
    for figure in runs.first().iter().flat_map(|run| &run.figures) {
        let _ = write!(text, "<tr><td>{}</td>", escape(&figure.name));
        for run in runs {
            let value = run.value(&figure.name).map_or_else(|| "-".to_string(), number);
            let _ = write!(text, "<td class=\"n\">{value}</td>");
        }
        let _ = writeln!(text, "<td>{}</td></tr>", escape(&figure.unit));
    }
    text.push_str("</table>\n");
    text
}

fn comparison(set: &RunSet) -> String {
    let label = |runs: &[Report]| runs.first().map_or_else(String::new, |run| escape(&run.label));
    let mut text = format!(
        "<table>\n<tr><th>figure, median [least, greatest]</th><th>A: {}</th><th>B: {}</th>\
         <th>A / B</th><th>unit</th></tr>\n",
        label(&set.runs),
        label(&set.against)
    );
    for row in compare(&set.runs, &set.against) {
        let of = |spread: &crate::compare::Spread| {
            let ends = format!("[{}, {}]", number(spread.min), number(spread.max));
            format!("<td class=\"n\"><b>{}</b> {ends}</td>", number(spread.median))
        };
        let ratio = row.ratio.as_ref().map_or_else(|| "<td>-</td>".to_string(), of);
        let _ = writeln!(
            text,
            "<tr><td>{}</td>{}{}{ratio}<td>{}</td></tr>",
            escape(&row.name),
            of(&row.a),
            of(&row.b),
            escape(&row.unit)
        );
    }
    text.push_str("</table>\n");
    text
}

fn findings(set: &RunSet) -> String {
    let mut text = String::from("<h2>Findings</h2>\n<ul>\n");
    for run in set.runs.iter().chain(&set.against) {
        let label = escape(&run.label);
        let faults = run.faults.named();
        let found: Vec<String> = faults
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let verdict = match (run.is_passed(), found.is_empty()) {
            (true, true) => "passed, every message arrived once and in order".to_string(),
            (true, false) => format!("passed with {}", found.join(", ")),
            (false, _) => format!("<b>failed</b>: {}", escape(&run.broken_limits.join("; "))),
        };
        let _ = writeln!(text, "<li>{label}: {verdict}</li>");
        for remark in &run.remarks {
            let _ = writeln!(text, "<li>{label}: {}</li>", escape(remark));
        }
    }
    text.push_str("</ul>\n");
    text
}

/// Text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "
:root { color-scheme: light dark; --a: #0a6ebd; --b: #c2571a; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; }
code { font-size: .85em; opacity: .75; }
.setting { border: 1px solid var(--line); border-radius: 4px; padding: 0 .4em;
  white-space: nowrap; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; }
svg { border: 1px solid var(--line); border-radius: 6px; }
svg text { fill: currentColor; font-size: 11px; } svg .title { font-size: 13px; font-weight: 600; }
svg .grid { stroke: var(--line); } svg .a { stroke: var(--a); } svg .b { stroke: var(--b); }
svg .a-text { fill: var(--a); } svg .b-text { fill: var(--b); }
svg polyline { fill: none; stroke-width: 1.5; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { border-bottom: 1px solid var(--line); padding: .2em .8em; text-align: left; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Better;

    fn run(label: &str) -> Report {
        let mut report =
            Report { scenario: "rate".into(), label: label.into(), ..Report::default() };
        report.figure("delivered", "msg/s", 1234.0, Better::Higher);
        let moment = |step: u64| Moment {
            at_s: step as f64,
            online: 100 * step,
            sent: 10 * step,
            delivered: 10 * step,
            cpu_s: Some(step as f64 / 10.0),
            resident_bytes: Some(1000 * step),
        };
        report.timeline = (0..5).map(moment).collect();
        report
    }

    #[test]
    fn a_page_needs_no_other_file_and_escapes_what_it_shows() {
        let set = RunSet { runs: vec![run("<a>")], against: vec![run("b & c")] };
        let page = page(&set);
        for outside in ["http://", "https://", "<script", "<link", "<img", "<a>"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for expected in ["&lt;a&gt;", "b &amp; c", "<svg", "polyline", "1,234", "</html>"] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn rates_are_differences_and_skip_what_is_unknown_or_shrinks() {
        let mut moments = run("a").timeline;
        moments[2].cpu_s = None;
        moments[4].cpu_s = Some(0.0);
        assert_eq!(rates(&moments, |moment| moment.cpu_s), [(1.0, 0.1)]);
        let delivered = rates(&moments, |moment| Some(moment.delivered as f64));
        assert_eq!(delivered.len(), 4);
        assert!(delivered.iter().all(|&(_, rate)| rate == 10.0));
    }

    #[test]
    fn memory_is_shared_out_while_connections_grow() {
        assert_eq!(memory_per_connection(&run("a").timeline)[3], (400.0, 10.0));
    }
}
