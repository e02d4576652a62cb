//! What the documents say is there, is there.

use std::fs;
use std::path::Path;

use crate::source::root;

/// The documents of the project.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            found.push(format!("docs/{name}"));
        }
    }
    found
}

fn text(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect("the project's documents are readable")
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let folder = root().join(&document).parent().expect("it is a file").to_owned();
        let text = text(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            let target = if file.is_empty() { root().join(&document) } else { folder.join(file) };
            let heading = link.split_once('#').map(|(_, heading)| heading);
            if !target.exists() || heading.is_some_and(|heading| !has_heading(&target, heading)) {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "links to nothing:\n{}", dead.join("\n"));
}

/// Whether a document has a heading that links name so: in lower case, hyphens for spaces, and
/// otherwise letters and digits alone.
fn has_heading(document: &Path, name: &str) -> bool {
    let text = fs::read_to_string(document).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim()).any(|heading| {
        let kept = heading.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
        });
        kept.eq(name.chars())
    })
}

#[test]
fn every_document_is_a_page_of_the_site() {
    let summary = text("docs/SUMMARY.md");
    for document in documents() {
        let Some(page) = document.strip_prefix("docs/") else { continue };
        let is_there = page == "SUMMARY.md" || summary.contains(&format!("]({page})"));
        assert!(is_there, "docs/SUMMARY.md leaves {page} out");
    }
}

#[test]
fn keys_that_documents_name_exist() {
    let reference = text("docs/config.md");
    let tables = ["listeners", "log", "mqtt", "storage", "tls", "auth"];
    let mut unknown = Vec::new();
    for document in documents() {
        for line in text(&document).lines() {
            // The first column of docs/moving.md is of other brokers.
            let line = if line.starts_with('|') { line.rsplit(" | ").next() } else { Some(line) };
            for span in line.unwrap_or_default().split('`').skip(1).step_by(2) {
                let is_part =
                    |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(*c);
                let key: String = span.chars().take_while(is_part).collect();
                let is_key = key.split_once('.').is_some_and(|(table, _)| tables.contains(&table));
                if is_key && !reference.contains(&format!("### `{key}`\n")) {
                    unknown.push(format!("{document}: {key}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "no such keys:\n{}", unknown.join("\n"));
}

#[test]
fn folders_of_the_layout_exist() {
    let readme = text("README.md");
    let layout = readme.split("## Layout").nth(1).expect("README.md has a layout");
    let folders: Vec<&str> =
        layout.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(folders.len() > 10, "the layout is a table of folders");
    for folder in folders {
        assert!(root().join(folder).is_dir(), "README.md names {folder}");
    }
}

#[test]
fn make_targets_that_documents_name_exist() {
    let makefile = text("Makefile");
    for document in documents() {
        let text = text(&document);
        let is_part = |c: &char| c.is_ascii_lowercase() || *c == '-';
        for rest in text.split("`make ").skip(1).chain(text.split("\nmake ").skip(1)) {
            let target: String = rest.chars().take_while(is_part).collect();
            let rule = format!("\n{target}:");
            assert!(makefile.contains(&rule), "{document} names make {target}");
        }
    }
}
