//! Who may use the admin server.

use std::fmt;
use std::str::FromStr;

use super::error::Problem;
use super::found::Found;
use super::kind::Kind;

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Ends connections, publishes, bans, deletes retained messages and traces, too.
    Operator,
    /// Sees and reloads the configuration, too.
    Admin,
}

impl Role {
    const WORDS: &[(&str, Role)] =
        &[("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Role, &'static str> {
        let found = Role::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, role)| *role).ok_or("viewer, operator or admin")
    }
}

/// A token of the admin server: its hash, and what its holder may do.
///
/// `NAME:ROLE:HASH`, the SHA-256 of the token in 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// What the log calls its holder.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Of the token.
    pub sha256: [u8; 32],
}

/// Hashes do not belong in logs.
impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdminToken { name, role, .. } = self;
        f.debug_struct("AdminToken").field("name", name).field("role", role).finish_non_exhaustive()
    }
}

impl fmt::Display for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.name, self.role.name())?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for AdminToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<AdminToken, &'static str> {
        let mut parts = text.split(':');
        let (name, role, hash) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(role), Some(hash), None) => (name, role.parse()?, hash),
            _ => return Err("three parts with colons between: NAME:ROLE:HASH"),
        };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_part) {
            return Err("a name has 1 to 64 letters, digits, -, _, . or @");
        }
        let sha256 = from_hex(hash).ok_or("the hash has 64 hexadecimal digits")?;
        Ok(AdminToken { name: name.to_owned(), role, sha256 })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A list of tokens.
pub(super) struct Tokens;

impl Kind for Tokens {
    type Value = Vec<AdminToken>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<AdminToken>> {
        let Some(items) = found.items() else {
            problems.push(found.unsuitable(self.expected(), None));
            return None;
        };
        let mut tokens: Vec<AdminToken> = Vec::new();
        let before = problems.len();
        for item in items {
            let parsed = item.as_text().ok_or("a text").and_then(str::parse::<AdminToken>);
            let parsed = parsed.and_then(|token| {
                let is_taken = tokens.iter().any(|other| other.name == token.name);
                if is_taken { Err("the name is taken; give each token its own") } else { Ok(token) }
            });
            match parsed {
                Ok(token) => tokens.push(token),
                Err(mend) => {
                    let expected = "\"NAME:ROLE:HASH\" as `hawker token add` prints it";
                    problems.push(item.unsuitable(expected.to_owned(), Some(mend.to_owned())));
                }
            }
        }
        (problems.len() == before).then_some(tokens)
    }

    fn expected(&self) -> String {
        "a list of \"NAME:ROLE:HASH\", the role viewer, operator or admin".to_owned()
    }

    fn show(&self, tokens: &Vec<AdminToken>) -> Option<String> {
        let texts: Vec<String> = tokens.iter().map(AdminToken::to_string).collect();
        Some(format!("{texts:?}"))
    }
}

/// Names of hosts.
pub(super) struct Hosts;

impl Kind for Hosts {
    type Value = Vec<String>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
        let legal = |text: &&str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=253).contains(&text.len()) && text.bytes().all(is_part)
        };
        let element = "the name of a host such as \"broker.example.org\", without a port";
        found.each(&self.expected(), element, problems, |item| {
            item.as_text().filter(legal).map(|text| text.to_ascii_lowercase())
        })
    }

    fn expected(&self) -> String {
        "a list of names of hosts such as [\"broker.example.org\"], without a port".to_owned()
    }

    fn show(&self, hosts: &Vec<String>) -> Option<String> {
        Some(format!("{hosts:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let text = format!("ops:operator:{}", "0f".repeat(32));
        let token: AdminToken = text.parse().expect("a token");
        assert_eq!((token.role, token.sha256), (Role::Operator, [15; 32]));
        assert_eq!(token.to_string(), text);
        assert!(!format!("{token:?}").contains("0f0f"));
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        for (text, reason) in [
            ("ops", "three parts"),
            ("ops:root:00", "viewer, operator"),
            ("ops:admin:00", "64 hexadecimal"),
            (&*format!("o ps:admin:{}", "00".repeat(32)), "a name has"),
            (&*format!("ops:admin:{}:", "00".repeat(32)), "three parts"),
        ] {
            let error = text.parse::<AdminToken>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
