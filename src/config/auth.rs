//! The `[auth]` table: who may enter.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::kind::{
    self, Choice, Kind as _, Optional, Sampled, Verifiers, count, milliseconds, seconds,
};
use super::rules::{Groups, RuleConfig, RuleList};
use super::table::table;

table! {
    /// Who may enter.
    pub struct AuthConfig in "auth" {
        /// The users who log in with a name and a password, a line each; `hawker passwd add FILE
        /// USER` writes it, and what `mosquitto_passwd` wrote is read, too, as is a
        /// `credentials.json` of Mosca. Who has no line there is refused unless `jwt_keys` or
        /// `http_url` knows better, and who names no user as well, unless
        /// `mqtt.anonymous_allowed`. Read again on SIGHUP: if a line is wrong, nothing changes.
        /// Only the broker's user and group may be able to read it.
        pub password_file: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/passwords\"")), Connect;

        /// Whose tokens are taken in place of passwords: a file with a JWK set, public keys in PEM
        /// or, if it is neither, a secret of at least 32 bytes (HS256 and longer); or the URL of a
        /// JWK set, which is fetched again every `jwt_refresh_s`, and when a token names a key that
        /// is not in it. A token says its algorithm (HS, RS, PS, ES, EdDSA), which has to be its
        /// key's. The connection ends with `exp`; `nbf` is heeded. `acl` grants topics, as EMQX has
        /// it: `{"pub": [...], "sub": [...], "all": [...]}`; `groups` are those of rules.
        pub jwt_keys: Option<String> = None,
            Optional(Sampled(kind::source(), "\"/etc/hawker/jwks.json\"")), Connect;

        /// The claim that names the user. What CONNECT gives as user name plays no part.
        pub jwt_user_claim: String = "sub".to_owned(), kind::word(), Connect;

        /// What `iss` has to be. Unset: anything.
        pub jwt_issuer: Option<String> = None,
            Optional(Sampled(kind::word(), "\"https://id.example.org\"")), Connect;

        /// What `aud` has to be or to hold. Unset: anything.
        pub jwt_audience: Option<String> = None,
            Optional(Sampled(kind::word(), "\"mqtt\"")), Connect;

        /// How often the keys are fetched from a URL.
        pub jwt_refresh_s: u32 = 300, seconds(10..=86_400), Connect;

        /// A web service that knows who may enter, asked after `password_file` and `jwt_keys` about
        /// everybody whom they do not know. It is sent a POST with JSON: `user`, `password`,
        /// `client_id`, `address`, `listener`, `common_name`. It answers 200 with `result` (`allow`,
        /// `deny` or `ignore`, with which it does not know either) and, with `allow`, whatever it
        /// likes of `user`, `groups`, `publish`, `subscribe`, `deny_publish`, `deny_subscribe`
        /// (lists of topic filters) and `expires_s`, after which the connection ends. 204 allows,
        /// 401 and 403 deny. With any other answer, or none in `http_timeout_ms`, nobody is let in.
        pub http_url: Option<String> = None,
            Optional(Sampled(kind::web_url(), "\"https://auth.example.org/mqtt\"")), Connect;

        /// How long an answer may take.
        pub http_timeout_ms: u32 = 5_000, milliseconds(10..=60_000), Connect;

        /// Requests at a time. Logins beyond them wait, those beyond 4,096 are told that the broker
        /// is busy.
        pub http_connections: u16 = 16, count(1..=256), Restart;

        /// How long `allow` is remembered for the same login, but not beyond its `expires_s`. 0: not
        /// at all.
        pub http_cache_s: u32 = 0, seconds(0..=86_400), Connect;

        /// A file whose first line is sent as `Authorization: Bearer`. Only the broker's user and
        /// group may be able to read it.
        pub http_token_file: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/http-token\"")), Connect;

        /// A web service that knows what clients may do, asked about each message and subscription
        /// that no rule decides, here, in `acl_file` or of the user alone; without any rule, about all
        /// of them. It is sent a POST with JSON: `user`, `client_id`, `address`, `listener`,
        /// `common_name`, `action` (`publish` or `subscribe`), `topic`, `qos`, `retain`. It answers
        /// 200 with `result`, `allow` or `deny`, or just 204 to allow, 401 or 403 to deny. With any
        /// other answer, or none in `http_timeout_ms`, the message or subscription is refused. Its
        /// client waits meanwhile, nobody else. `http_connections` requests are made at a time, with
        /// the token of `http_token_file`.
        pub http_rules_url: Option<String> = None,
            Optional(Sampled(kind::web_url(), "\"https://auth.example.org/acl\"")), Live;

        /// How long an answer of `http_rules_url` is remembered for the same client, action, topic,
        /// QoS and retain flag, as long as it is connected and for up to 64 topics of it. 0: not at
        /// all, and then each message of such a client costs a request.
        pub http_rules_cache_s: u32 = 10, seconds(0..=86_400), Live;

        /// Failed logins from one address after which it is kept out for `ban_s`; 0 never keeps
        /// anybody out. An IPv6 address counts with its network of 64 bits; this machine is never
        /// kept out, so a proxy on it is not either.
        pub ban_failures: u32 = 50, count(0..=u32::MAX), Live;

        /// How long an address is kept out, and how long its failed logins are remembered; a client
        /// id that connects too often, too.
        pub ban_s: u32 = 600, seconds(1..=31_536_000), Live;

        /// Where bans outlive the broker, those by hand and those by themselves: a line of JSON
        /// each, written anew whenever one is added or lifted. It may be edited by hand; SIGHUP reads
        /// it, and clients that are banned then are let go. If a line is wrong, nothing changes.
        /// Unset: bans end with the broker.
        pub ban_file: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/var/lib/hawker/bans\"")), Restart;

        /// How often a client id may connect in `flapping_window_s`; beyond that it is kept out for
        /// `ban_s` (0x8A, 5 before MQTT 5.0) and its connection ends: two devices that share an id and
        /// take over from each other without end, or one that breaks off and comes back. Only those
        /// that were let in count. 0: as often as it likes.
        pub flapping_connects: u32 = 0, count(0..=u32::MAX), Live;

        /// See `flapping_connects`.
        pub flapping_window_s: u32 = 60, seconds(1..=86_400), Live;

        /// An `acl_file` as Mosquitto has it: `topic` lines for clients without a user, below
        /// `user NAME` for that user, `pattern` lines with `%u` and `%c` for everybody; `read` is
        /// to subscribe, `write` to publish, `deny` forbids. A file without a line allows nothing.
        /// Read again on SIGHUP.
        pub acl_file: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/acl\"")), Live;

        /// What clients may do, a table each: whom it is about (`users`, `groups`, `client_ids`,
        /// `networks`, `listeners`; what is left out is no condition), the topic filters they may `publish` and
        /// `subscribe` to, those they may not (`deny_publish`, `deny_subscribe`, which win), the
        /// highest QoS (`qos_max`), whether they may `retain`, and how much each of them may send
        /// (`messages_per_s_max`, `bytes_per_s_max`). Each of them can be held to less than `[mqtt]` says for
        /// everybody: `packet_bytes_max`, `topic_levels_max`, `topic_bytes_max`,
        /// `subscriptions_max`, `receive_maximum`, `inflight_messages_max`, `queue_messages_max`,
        /// `session_expiry_s_max`, `keep_alive_s_max`, `retain_available` (`false`: nothing it
        /// publishes may be retained) and `connections_max`, which counts the connections of its
        /// user over all shards and client ids (0x97 beyond it); the lowest of all rules that are about it holds, with
        /// `[mqtt]` as the ceiling. A 5.0 client is told in CONNACK; what it was told there stays
        /// until it connects again. `%u`, `%c` and `%{cert.cn}` in a
        /// filter stand for user, client id and the common name of a client's certificate; a name
        /// with +, # or / in it matches nothing. `%` before any other letter or `{` is refused.
        /// Without any rule, here or in `acl_file`, everybody may do everything; with one, only
        /// what is allowed. An empty list is one, and an empty `acl_file`. A subscription has to be
        /// allowed for every topic it can match, and is refused if any of them is denied;
        /// `wide_subscriptions` can have it otherwise. Subscriptions that a changed rule forbids
        /// end with it.
        pub rules: Vec<RuleConfig> = Vec::new(), RuleList, Live;

        /// What becomes of a subscription of which the rules allow a part: `refuse` refuses it, so
        /// that a client knows; `sift` makes it, and its client gets of it what it may read, as
        /// Mosquitto has it. A subscription of which no part is allowed is refused, and so is a
        /// shared one. Unset: `sift` if there is an `acl_file` and no rule here, else `refuse`.
        /// Sifting costs a look at the client's rules for each of its messages.
        pub wide_subscriptions: Option<WideSubscriptions> = None,
            Optional(Sampled(Choice(WideSubscriptions::WORDS), "\"sift\"")), Live;

        /// What becomes of a message that no rule allows, before MQTT 5.0, which is told so: `drop`
        /// acknowledges and forgets it, `disconnect` ends the connection.
        pub refused_publish: RefusedPublish = RefusedPublish::Drop,
            Choice(RefusedPublish::WORDS), Live;

        /// What becomes of a client that sends more than it may: `slow` reads from it no faster, so
        /// that it waits and loses nothing; `disconnect` ends its connection (0x96 in MQTT 5.0).
        pub rate_exceeded: RateExceeded = RateExceeded::Slow,
            Choice(RateExceeded::WORDS), Live;

        /// The users of groups that rules are about: a table of `group = ["user", ...]`.
        pub groups: BTreeMap<String, Vec<String>> = BTreeMap::new(), Groups, Live;

        /// What SCRAM-SHA-256 needs to know of each user: a table of `user = "verifier"`.
        /// `hawker scram USER` asks for a password and prints the line. A verifier is enough to
        /// check a password and not enough to log in with, but whoever reads it can try
        /// passwords at home: a configuration file with verifiers that everybody on the machine can
        /// read is refused, as a password file is. A user that is removed
        /// stays connected until its connection ends.
        pub scram_users: BTreeMap<String, ScramVerifier> = BTreeMap::new(), Verifiers, Connect;
    }
}

/// What becomes of a subscription of which the rules allow a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideSubscriptions {
    /// It is refused.
    Refuse,
    /// It is made, and its messages are looked at.
    Sift,
}

impl WideSubscriptions {
    const WORDS: &[(&str, WideSubscriptions)] =
        &[("refuse", WideSubscriptions::Refuse), ("sift", WideSubscriptions::Sift)];
}

impl AuthConfig {
    /// Whether subscriptions that reach further than their clients may read are made.
    pub fn sifts_subscriptions(&self) -> bool {
        match self.wide_subscriptions {
            Some(wide) => wide == WideSubscriptions::Sift,
            None => self.acl_file.is_some() && self.rules.is_empty(),
        }
    }
}

/// What becomes of a message that no rule allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefusedPublish {
    /// It is acknowledged and forgotten.
    #[default]
    Drop,
    /// The connection ends.
    Disconnect,
}

impl RefusedPublish {
    const WORDS: &[(&str, RefusedPublish)] =
        &[("drop", RefusedPublish::Drop), ("disconnect", RefusedPublish::Disconnect)];
}

/// What becomes of a client that sends more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateExceeded {
    /// It is read from as fast as it may send.
    #[default]
    Slow,
    /// Its connection ends.
    Disconnect,
}

impl RateExceeded {
    const WORDS: &[(&str, RateExceeded)] =
        &[("slow", RateExceeded::Slow), ("disconnect", RateExceeded::Disconnect)];
}

/// What a server keeps of a user's password: enough to check it, not enough to use it.
///
/// Written as PostgreSQL does: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`,
/// the last three in Base64.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Drawn for this user and password.
    pub salt: Vec<u8>,
    /// `H(ClientKey)` of RFC 5802.
    pub stored_key: [u8; 32],
    /// `ServerKey` of RFC 5802.
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Fewest rounds taken (RFC 7677, section 4).
    pub const ITERATIONS_MIN: u32 = 4096;
    /// Most rounds taken: the client pays them at every login, some seconds of hashing.
    pub const ITERATIONS_MAX: u32 = 10_000_000;
    /// Shortest salt taken, in bytes.
    pub const SALT_BYTES_MIN: usize = 8;
    /// Longest salt taken, in bytes.
    pub const SALT_BYTES_MAX: usize = 64;
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key),
        )
    }
}

/// Keys do not belong in logs.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Why a text is no [`ScramVerifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramVerifierError {
    /// Not the four parts in their order.
    Shape,
    /// The rounds are no number, or too few, or too many.
    Iterations,
    /// The salt is not Base64, or too short, or too long.
    Salt,
    /// A key is not Base64 or not 32 bytes.
    Key,
}

impl fmt::Display for ScramVerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScramVerifierError::Shape => {
                f.write_str("SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")
            }
            ScramVerifierError::Iterations => write!(
                f,
                "from {} to {} iterations",
                ScramVerifier::ITERATIONS_MIN,
                ScramVerifier::ITERATIONS_MAX
            ),
            ScramVerifierError::Salt => write!(
                f,
                "a salt of {} to {} bytes in Base64",
                ScramVerifier::SALT_BYTES_MIN,
                ScramVerifier::SALT_BYTES_MAX
            ),
            ScramVerifierError::Key => f.write_str("keys of 32 bytes in Base64"),
        }
    }
}

impl std::error::Error for ScramVerifierError {}

impl FromStr for ScramVerifier {
    type Err = ScramVerifierError;

    fn from_str(text: &str) -> Result<ScramVerifier, ScramVerifierError> {
        let (iterations, salt, stored_key, server_key) =
            parts(text).ok_or(ScramVerifierError::Shape)?;
        let iterations = iterations.parse().map_err(|_| ScramVerifierError::Iterations)?;
        if !(ScramVerifier::ITERATIONS_MIN..=ScramVerifier::ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramVerifierError::Iterations);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ScramVerifierError::Salt)?;
        if !(ScramVerifier::SALT_BYTES_MIN..=ScramVerifier::SALT_BYTES_MAX).contains(&salt.len()) {
            return Err(ScramVerifierError::Salt);
        }
        Ok(ScramVerifier {
            iterations,
            salt,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let rest = text.strip_prefix("SCRAM-SHA-256$")?;
    let (hashing, keys) = rest.split_once('$')?;
    let (iterations, salt) = hashing.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    Some((iterations, salt, stored_key, server_key))
}

fn key(text: &str) -> Result<[u8; 32], ScramVerifierError> {
    let bytes = STANDARD.decode(text).map_err(|_| ScramVerifierError::Key)?;
    bytes.try_into().map_err(|_| ScramVerifierError::Key)
}
