//! Which folder knows what.

use crate::source::{Source, is_test, sources};

/// What a folder of the core may use beside the language's own library.
struct Folder {
    name: &'static str,
    /// Modules of this crate.
    modules: &'static [&'static str],
    /// Crates of others.
    crates: &'static [&'static str],
}

/// The rooms of the core: no runtime, no clock, no thread, no socket, no file.
const CORE: &[Folder] = &[
    Folder { name: "proto", modules: &["proto"], crates: &["bytes"] },
    Folder {
        name: "session",
        modules: &["session", "proto", "message", "config", "time"],
        crates: &["ahash", "bytes"],
    },
    Folder {
        name: "router",
        modules: &["router", "proto", "message", "config", "time"],
        crates: &["ahash", "bytes"],
    },
    Folder { name: "storage", modules: &["storage"], crates: &["bytes", "crc32c"] },
    Folder {
        name: "auth",
        modules: &["auth", "proto", "config", "time"],
        crates: &[
            "argon2",
            "base64",
            "bytes",
            "hmac",
            "pbkdf2",
            "serde",
            "serde_json",
            "sha1",
            "sha2",
            "subtle",
            "x509_cert",
            "zeroize",
        ],
    },
    Folder {
        name: "transport",
        modules: &["transport"],
        crates: &["base64", "crc32c", "httparse", "rustls", "sha1"],
    },
    Folder {
        name: "shard",
        modules: &[
            "shard", "auth", "config", "message", "metrics", "proto", "router", "session",
            "storage", "time",
        ],
        crates: &["ahash", "bytes", "rkyv", "tracing", "zeroize"],
    },
];

/// What only a driver may touch. An address is a value, its socket is not.
const SHELL: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::sync::mpsc",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
];

/// Words of MQTT's decisions, which the runtime carries out and does not take.
const DECISIONS: &[&str] = &["ReasonCode", "reason_code", "QoS", "Qos", "qos"];

#[test]
fn each_folder_of_the_core_uses_what_its_rule_allows() {
    let mut broken = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !is_test(&source.path)) {
        let Some(folder) = CORE.iter().find(|folder| source.folder() == Some(folder.name)) else {
            continue;
        };
        for (line, path) in paths(source) {
            if !is_allowed(folder, &path) {
                broken.push(format!("{}:{line}: {path}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "what its folder must not know:\n{}", broken.join("\n"));
}

#[test]
fn the_runtime_takes_no_decision_of_mqtt() {
    let mut broken = Vec::new();
    for source in sources(&["src/runtime"]) {
        for word in DECISIONS {
            for offset in source.words(word) {
                broken.push(format!("{}:{}: {word}", source.path, source.line(offset)));
            }
        }
    }
    assert!(broken.is_empty(), "words of decisions in the runtime:\n{}", broken.join("\n"));
}

#[test]
fn glommio_and_the_ring_stay_in_the_runtime() {
    let mut broken = Vec::new();
    for source in sources(&["src"]) {
        let may = matches!(source.folder(), Some("runtime" | "sys"));
        for word in ["glommio", "io_uring"] {
            // A feature or a message may name it; a path uses it.
            let path = format!("{word}::");
            if !may && source.code.contains(&path) {
                broken.push(format!("{}: {word}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "the runtime's own crates elsewhere:\n{}", broken.join("\n"));
}

#[test]
fn the_simulation_asks_nothing_outside() {
    let mut broken = Vec::new();
    for source in sources(&["src/sim"]) {
        for (line, path) in paths(&source) {
            let outside = [
                "std::fs",
                "std::net::Tcp",
                "std::thread",
                "std::time::Instant",
                "std::time::SystemTime",
                "crate::runtime",
                "getrandom",
            ];
            if outside.iter().any(|start| path.starts_with(start)) {
                broken.push(format!("{}:{line}: {path}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "one seed must decide everything:\n{}", broken.join("\n"));
}

fn is_allowed(folder: &Folder, path: &str) -> bool {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    match first {
        "crate" => {
            let module = rest.split("::").next().unwrap_or_default();
            folder.modules.contains(&module)
        }
        // How the TLS library is handed bytes: no device is behind these.
        "std" if folder.name == "transport" && is_within(path, "std::io") => {
            rest == "io" || rest.starts_with("io::Read") || rest.starts_with("io::Write")
        }
        "std" | "core" | "alloc" => !SHELL.iter().any(|shell| is_within(path, shell)),
        _ => folder.crates.contains(&first),
    }
}

fn is_within(path: &str, module: &str) -> bool {
    path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
}

/// Every path that leaves its module: those of `use`, whole, and those in between that begin with
/// `crate` or `std`.
fn paths(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for offset in source.words("use") {
        let rest = &source.code[offset + 3..];
        if rest.starts_with('<') {
            continue; // `+ use<'a>` names what a type captures
        }
        let tree = &rest[..rest.find(';').unwrap_or(rest.len())];
        let line = source.line(offset);
        for path in leaves(tree) {
            let first = path.split("::").next().unwrap_or_default();
            // A name in lower case at the front is a crate, unless it is a module of this one.
            if !matches!(first, "self" | "super" | "") && !is_own_module(source, first) {
                found.push((line, path));
            }
        }
    }
    for root in ["crate", "std"] {
        for offset in source.words(root) {
            let rest = &source.code[offset..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
            let path = rest[..end.unwrap_or(rest.len())].trim_end_matches(':');
            if path.contains("::") {
                found.push((source.line(offset), path.to_owned()));
            }
        }
    }
    found
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn leaves(tree: &str) -> Vec<String> {
    let tree: String = tree.chars().filter(|c| !c.is_whitespace()).collect();
    let mut found = Vec::new();
    let mut prefixes: Vec<usize> = Vec::new();
    let mut path = String::new();
    let mut finish = |path: &str| {
        if !path.is_empty() && !path.ends_with("::") {
            found.push(path.to_owned());
        }
    };
    for character in tree.chars() {
        match character {
            '{' => prefixes.push(path.len()),
            ',' | '}' => {
                finish(&path);
                if character == '}' {
                    prefixes.pop();
                }
                // What is said is done: the prefix alone is no path of its own.
                path.truncate(prefixes.last().copied().unwrap_or(0));
            }
            _ => path.push(character),
        }
    }
    finish(&path);
    found
}

fn is_own_module(source: &Source, name: &str) -> bool {
    ["mod", "pub mod", "pub(crate) mod", "pub(super) mod"]
        .iter()
        .any(|word| source.text.contains(&format!("{word} {name};")))
        || name.starts_with(|c: char| c.is_uppercase())
}

#[test]
fn a_tree_of_uses_has_its_leaves() {
    assert_eq!(leaves(" std::fmt"), ["std::fmt"]);
    assert_eq!(leaves("a::{b, c::{d, e}, f}"), ["a::b", "a::c::d", "a::c::e", "a::f"]);
    assert_eq!(leaves("a::{self, B}"), ["a::self", "a::B"]);
}

#[test]
fn a_rule_tells_an_address_from_a_socket() {
    let shard = CORE.iter().find(|folder| folder.name == "shard").expect("it has a rule");
    assert!(is_allowed(shard, "std::net::SocketAddr"));
    assert!(!is_allowed(shard, "std::net::TcpStream"));
    assert!(!is_allowed(shard, "std::time::Instant"));
    assert!(is_allowed(shard, "std::time::Duration"));
    assert!(!is_allowed(shard, "crate::runtime::Clock"));
    assert!(!is_allowed(shard, "glommio::Task"));
}
