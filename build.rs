//! Tells the program which commit it was built from, and by which compiler.
//!
//! `HAWKER_COMMIT` is for who builds without a repository; then comes git, if this folder is the
//! root of its work tree; then what cargo wrote into a published package. Without any of these the
//! version stands alone.

use std::path::Path;
use std::process::Command;

/// Digits shown of a commit.
const COMMIT_DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-env-changed=HAWKER_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let root = env("CARGO_MANIFEST_DIR");
    let given = Some(env("HAWKER_COMMIT")).filter(|commit| is_commit(commit));
    let commit = given.or_else(|| from_git(&root)).or_else(|| from_package(&root));
    let version = match commit {
        Some(commit) => format!("{} ({})", env("CARGO_PKG_VERSION"), short(&commit)),
        None => env("CARGO_PKG_VERSION"),
    };
    println!("cargo::rustc-env=HAWKER_VERSION={version}");
    println!("cargo::rustc-env=HAWKER_RUSTC={}", compiler().unwrap_or_default());
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Its version alone, such as `1.88.0`.
fn compiler() -> Option<String> {
    let output = Command::new(env("RUSTC")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

fn short(commit: &str) -> &str {
    commit.get(..COMMIT_DIGITS).unwrap_or(commit)
}

fn is_commit(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn from_git(root: &str) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(root).canonicalize().ok()? {
        return None;
    }
    // HEAD's log grows with every commit and checkout, whatever the branch is stored in.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(root, &["rev-parse", "--git-path", file]) {
            let path = Path::new(root).join(path);
            if path.exists() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
    git(root, &["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))
}

fn git(root: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn from_package(root: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(root).join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    is_commit(commit).then(|| commit.to_owned())
}
