//! What the documents say is there, is there.

use std::fs;

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
            let is_local = !file.is_empty() && !file.contains("://");
            if is_local && !folder.join(file).exists() {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "links to nothing:\n{}", dead.join("\n"));
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
