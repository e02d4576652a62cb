//! `hawker doctor`: what [`sys::check`] found, for people or for machines.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::Config;
use crate::sys::{self, Finding, Verdict};

/// Examines the machine as `run` would and prints what it finds.
pub(super) fn examine(config: &Config, json: bool) -> ExitCode {
    let findings = sys::check(config);
    let text = if json { as_json(&findings) } else { as_text(&findings) };
    // Whoever closed the pipe has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    let problems = findings.iter().any(|finding| finding.verdict == Verdict::Problem);
    if problems { ExitCode::from(super::RUN_FAILED) } else { ExitCode::SUCCESS }
}

fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (verdict, subject) = (word(finding.verdict), finding.subject);
        let _ = writeln!(text, "{verdict:<8} {subject:<14} {}", finding.what);
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "{:<8} {:<14} mend: {mend}", "", "");
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
    let _ = match problems {
        0 => writeln!(text, "\nhawker can run here; warnings: {warnings}"),
        _ => writeln!(text, "\nhawker cannot run here; problems: {problems}, warnings: {warnings}"),
    };
    text
}

fn as_json(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        serde_json::json!({
            "subject": finding.subject,
            "verdict": word(finding.verdict),
            "what": finding.what,
            "mend": finding.mend,
        })
    };
    let findings: Vec<_> = findings.iter().map(one).collect();
    format!("{:#}\n", serde_json::json!({ "version": super::VERSION, "findings": findings }))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("kernel", "6.12.0".to_owned()),
            Finding::problem("io_uring", "it is \"off\"".to_owned(), "sudo sysctl".to_owned()),
        ]
    }

    #[test]
    fn people_read_a_line_for_each_finding_and_how_to_mend_it() {
        assert_eq!(
            as_text(&findings()),
            "ok       kernel         6.12.0\n\
             problem  io_uring       it is \"off\"\n\
             \u{20}                       mend: sudo sysctl\n\n\
             hawker cannot run here; problems: 1, warnings: 0\n"
        );
    }

    #[test]
    fn machines_read_the_same() {
        let json: serde_json::Value = serde_json::from_str(&as_json(&findings())).expect("JSON");
        assert_eq!(json["findings"][0]["mend"], serde_json::Value::Null);
        assert_eq!(json["findings"][1]["verdict"], "problem");
        assert_eq!(json["findings"][1]["what"], "it is \"off\"");
    }
}
