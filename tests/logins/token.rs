//! Tokens in place of passwords.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::add;
use super::client::Client;
use super::service::Service;
use super::support::{Broker, Directory, Setup, permit};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Made by `openssl ecparam -name prime256v1 -genkey | openssl pkcs8 -topk8 -nocrypt` and
/// `openssl ec -pubout`.
const PRIVATE: &str = include_str!("../support/tls/token-key.pem");
const PUBLIC: &str = include_str!("../support/tls/token-public.pem");

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs()
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> Vec<u8> {
    let header = Header { kid: Some("one".to_owned()), ..Header::new(algorithm) };
    encode(&header, claims, key).expect("claims").into_bytes()
}

fn by_secret(claims: &Value) -> Vec<u8> {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn enter(broker: &Broker, level: u8, token: &[u8]) -> Result<Client, u8> {
    Client::enter(broker, level, (Some("whoever"), Some(token)), None)
}

#[test]
fn a_token_says_who_it_is_and_what_it_may_do() {
    let directory = Directory::new();
    let keys = directory.write("secret", SECRET);
    permit(&keys, 0o600);
    let config = format!(
        "[auth]\njwt_keys = '{}'\njwt_issuer = 'us'\njwt_audience = 'mqtt'\n\
         [[auth.rules]]\nusers = ['ann']\npublish = ['own/%u/#']\n\
         [[auth.rules]]\ngroups = ['staff']\npublish = ['staff']\n",
        keys.display()
    );
    let broker = Setup::shards(2).config(&config).start();
    let claims = json!({
        "sub": "ann", "iss": "us", "aud": ["web", "mqtt"], "exp": now_s() + 600,
        "groups": ["staff"], "acl": {"pub": ["from/${username}"], "sub": [], "all": ["chat/#"]},
    });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        by_secret(&claims)
    };
    let mut ann = enter(&broker, 5, &by_secret(&claims)).expect("a right token");
    for topic in ["own/ann/x", "staff", "from/ann", "chat/room"] {
        assert_eq!(ann.publish(topic), 0x10, "{topic}");
    }
    for topic in ["own/whoever/x", "other"] {
        assert_eq!(ann.publish(topic), 0x87, "{topic}");
    }
    assert_eq!(ann.subscribe("chat/+"), 1);
    assert_eq!(ann.subscribe("from/ann"), 0x87);
    for (wrong, what) in [
        (with("exp", json!(now_s() - 10)), "expired"),
        (with("nbf", json!(now_s() + 600)), "not valid yet"),
        (with("exp", json!((now_s() - 10).to_string())), "of no time"),
        (with("nbf", json!((now_s() + 600).to_string())), "of no time either"),
        (with("iss", json!("them")), "of another issuer"),
        (with("aud", json!("web")), "for somebody else"),
        (with("sub", json!(7)), "without a user"),
        (with("acl", json!({"pub": ["a/#/b"]})), "with a wrong filter"),
    ] {
        assert_eq!(enter(&broker, 5, &wrong).err(), Some(0x87), "{what}");
        assert_eq!(enter(&broker, 4, &wrong).err(), Some(5), "{what}");
    }
    let other = EncodingKey::from_secret(SECRET.to_uppercase().as_bytes());
    assert_eq!(enter(&broker, 5, &signed(Algorithm::HS256, &other, &claims)).err(), Some(0x86));
    let mut none = by_secret(&claims);
    none.splice(.., *b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.");
    assert_eq!(enter(&broker, 5, &none).err(), Some(0x86), "unsigned");
    assert_eq!(enter(&broker, 5, b"no token").err(), Some(0x86));
}

#[test]
fn the_connection_ends_with_its_token() {
    let directory = Directory::new();
    let keys = directory.write("public.pem", PUBLIC);
    let config = format!("[auth]\njwt_keys = '{}'\n", keys.display());
    let broker = Setup::shards(2).config(&config).start();
    let key = EncodingKey::from_ec_pem(PRIVATE.as_bytes()).expect("a key");
    let claims = json!({"sub": "ann", "exp": now_s() + 3});
    let token = signed(Algorithm::ES256, &key, &claims);
    let mut ann = enter(&broker, 5, &token).expect("a right token");
    assert_eq!(ann.publish("a"), 0x10);
    let (first, body) = ann.read();
    assert_eq!((first, body[0]), (0xE0, 0xA0), "maximum connect time");
    assert!(now_s() >= claims["exp"].as_u64().expect("a number"), "not before");
    assert_eq!(enter(&broker, 5, &token).err(), Some(0x87));
    // A public key is not a secret that everybody knows.
    let forged = signed(Algorithm::HS256, &EncodingKey::from_secret(PUBLIC.as_bytes()), &claims);
    assert_eq!(enter(&broker, 5, &forged).err(), Some(0x86));
}

#[test]
fn keys_are_fetched_and_fetched_again() {
    let jwk = |id: &str, secret: &[u8]| {
        use base64::Engine as _;
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        json!({"keys": [{"kty": "oct", "kid": id, "alg": "HS256", "k": secret}]}).to_string()
    };
    let service = Service::start(vec![
        (200, jwk("other", SECRET.to_uppercase().as_bytes())),
        (200, jwk("one", SECRET.as_bytes())),
    ]);
    let config = format!("[auth]\njwt_keys = '{}'\n", service.url());
    let broker = Setup::shards(1).config(&config).start();
    let token = by_secret(&json!({"sub": "ann", "exp": now_s() + 600}));
    // It names a key that is not known, so keys are fetched again soon.
    while enter(&broker, 5, &token).is_err() {
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn passwords_and_tokens_go_together() {
    let directory = Directory::new();
    let (keys, file) = (directory.write("secret", SECRET), directory.join("passwords"));
    permit(&keys, 0o600);
    add(&file, "ann", "secret");
    let (keys, file) = (keys.display(), file.display());
    let config = format!("[auth]\njwt_keys = '{keys}'\npassword_file = '{file}'\n");
    let broker = Setup::shards(1).config(&config).start();
    let token = by_secret(&json!({"sub": "bob", "exp": now_s() + 600}));
    assert!(enter(&broker, 5, &token).is_ok());
    assert!(Client::log_in(&broker, 5, "ann", None).is_ok());
    assert_eq!(Client::log_in(&broker, 5, "bob", None).err(), Some(0x86));
    let as_ann = Client::enter(&broker, 5, (Some("ann"), Some(&token)), None);
    assert_eq!(as_ann.err(), Some(0x86), "ann has a password");
}
