//! The project's files, and their code without what only people read.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file.
pub(crate) struct Source {
    /// From the project's folder, with `/`.
    pub(crate) path: String,
    /// As it is written.
    pub(crate) text: String,
    /// The same lines and columns with comments, texts and test modules blanked.
    pub(crate) code: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).expect("the project's files are readable text");
        let code = without_tests(&without_comments_and_texts(&text));
        Source { path: relative(path), text, code }
    }

    /// The folder below `src`, or nothing for files of the crate's root.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(folder, _)| folder)
    }

    /// The line that a byte of `code` is on.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// Each place of `word` in the code that is no part of a longer one.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let is_part =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        self.code.match_indices(word).map(|(offset, _)| offset).filter(move |&offset| {
            let bytes = self.code.as_bytes();
            let before = offset > 0 && is_part(bytes.get(offset - 1));
            let after = is_part(bytes.get(offset + word.len()));
            !(before || after)
        })
    }
}

/// The project's own folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below these folders, tests of `src` that are files of their own left out.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.sort();
    found.iter().map(|path| Source::read(path)).collect()
}

/// Whether a file holds nothing but tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("the project's folders are readable").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            collect(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("it was found below the root");
    path.to_string_lossy().replace('\\', "/")
}

/// Blanks comments and what stands between quotes, newlines kept.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_length(rest),
            '"' => quoted_length(rest, 1),
            'r' if !ends_in_word(&code) => raw_length(rest).unwrap_or(0),
            '\'' => character_length(rest).unwrap_or(0),
            _ => 0,
        };
        if length == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

fn ends_in_word(code: &str) -> bool {
    // `br"..."` is a raw text as well.
    code.chars().next_back().is_some_and(|c| (c.is_alphanumeric() || c == '_') && c != 'b')
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted_length(rest: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(start) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"..."` and `r#"..."#`; nothing for a raw identifier or a plain `r`.
fn raw_length(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()))
}

/// `'x'` and `'\n'`; nothing for a lifetime.
fn character_length(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        let (at, _) = characters.skip(1).find(|&(_, character)| character == '\'')?;
        return Some(at + 1);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

/// Blanks modules that are compiled for tests alone.
fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    while let Some(start) = kept.find("#[cfg(test)]") {
        let end = item_end(&kept, start);
        let blank: String =
            kept[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(start..end, &blank);
    }
    kept
}

/// Where the item that begins at `start` ends: at its `;` or after its braces.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code[start..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return start + at + 1;
                }
            }
            b';' if depth == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_texts_and_tests_are_blanked_in_place() {
    let text = "let a = \"no\\\"pe\"; // never\nlet b = 'x'; /* a /* b */ c */ fn f<'a>() {}\n\
                let c = r#\"un\"safe\"#; let r = 1;\n#[cfg(test)]\nmod tests { fn g() { {} } }\nend";
    let code = without_tests(&without_comments_and_texts(text));
    assert_eq!(code.len(), text.len());
    assert_eq!(code.matches('\n').count(), text.matches('\n').count());
    let squeezed: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed, "let a = ; let b = ; fn f<'a>() {} let c = ; let r = 1; end");
}
