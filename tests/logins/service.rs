//! A web service that knows who may enter.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Entrance};
use super::support::{Broker, Setup};
use super::{add, from};
use crate::support::{Directory, permit};

/// Answers HTTP with what it was given, the last of it again and again, and remembers what it was
/// asked.
pub struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Service {
    pub fn start(answers: Vec<(u16, String)>) -> Service {
        Service::slow(Duration::ZERO, answers)
    }

    /// One that thinks before it answers.
    pub fn slow(pause: Duration, answers: Vec<(u16, String)>) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (asked, left) = (Arc::default(), Arc::new(Mutex::new(answers)));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, left) = (Arc::clone(&heard), Arc::clone(&left));
                std::thread::spawn(move || serve(stream, pause, &heard, &left));
            }
        });
        Service { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn serve(
    stream: TcpStream,
    pause: Duration,
    asked: &Mutex<Vec<(String, Value)>>,
    left: &Mutex<Vec<(u16, String)>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let before = head.len();
            reader.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
            let line = head[before..].trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        asked.lock().expect("no panic").push((head, body));
        std::thread::sleep(pause);
        let (status, answer) = {
            let mut left = left.lock().expect("no panic");
            if left.len() > 1 { left.remove(0) } else { left[0].clone() }
        };
        if status == 0 {
            // It says nothing.
            std::thread::sleep(Duration::from_secs(60));
        }
        let length = answer.len();
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{answer}");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn broker(service: &Service, more: &str) -> Broker {
    let config = format!("[auth]\nhttp_url = '{}'\n{more}", service.url());
    Setup::shards(2).config(&config).start()
}

fn ann(broker: &Broker) -> Result<Client, u8> {
    Client::log_in(broker, 5, "ann", None)
}

fn other(broker: &Broker) -> Result<Client, u8> {
    Client::log_in(broker, 5, "bob", None)
}

#[test]
fn a_service_decides() {
    let directory = Directory::new();
    let token = directory.write("token", "open sesame\n");
    permit(&token, 0o600);
    let rules = json!({
        "result": "allow", "user": "Ann", "publish": ["own/%u/#"], "subscribe": ["#"],
        "deny_subscribe": ["secret/#"], "groups": ["staff"], "expires_s": 2,
    });
    let service = Service::start(vec![
        (200, rules.to_string()),
        (200, json!({"result": "deny"}).to_string()),
        (200, json!({"result": "ignore"}).to_string()),
        (403, String::new()),
        (500, String::new()),
        (200, "nonsense".to_owned()),
        (200, json!({"result": "allow", "publish": ["a/#/b"]}).to_string()),
        (204, String::new()),
    ]);
    let broker = broker(&service, &format!("http_token_file = '{}'\n", token.display()));
    let mut client = ann(&broker).expect("it is allowed");
    assert_eq!(client.publish("own/Ann/x"), 0x10);
    assert_eq!(client.publish("own/ann/x"), 0x87);
    assert_eq!(client.subscribe("chat/#"), 1);
    assert_eq!(client.subscribe("secret/x"), 0x87);
    let codes: Vec<Option<u8>> = (0..6).map(|_| other(&broker).err()).collect();
    let expected = [0x86, 0x86, 0x86, 0x88, 0x88, 0x88].map(Some);
    assert_eq!(codes, expected, "deny, ignore, 403, 500, nonsense, no filter");
    assert!(other(&broker).is_ok(), "204");
    let (first, body) = client.read();
    assert_eq!((first, body[0]), (0xE0, 0xA0), "its time is over");
    let (head, question) = service.asked().remove(0);
    assert!(head.to_ascii_lowercase().contains("authorization: bearer open sesame"), "{head}");
    let expected = json!({
        "user": "ann", "password": "secret", "password_base64": null, "client_id": "ann-device",
        "address": "127.0.0.1", "listener": question["listener"], "common_name": null,
    });
    assert_eq!(question, expected);
}

#[test]
fn a_password_in_a_url_is_not_in_the_log() {
    let url = |password| format!("'http://me:{password}@127.0.0.1:1/'");
    let (login, rules, keys) = (url("hunter2"), url("hunter3"), url("hunter4"));
    let config =
        format!("[auth]\nhttp_url = {login}\nhttp_rules_url = {rules}\njwt_keys = {keys}\n");
    let broker = Setup::shards(1).config(&config).start();
    assert_eq!(ann(&broker).err(), Some(0x88));
    broker.await_log("the keys of tokens stay as they are");
    broker.await_log("the service does not answer");
    let log = broker.log();
    assert!(log.contains("://...@127.0.0.1") && !log.contains("hunter"), "{log}");
}

/// A broker behind a proxy of this machine, that asks one at a time of a service which takes its
/// time.
fn one_by_one(service: &Service, more: &str) -> Broker {
    let config = format!(
        "{more}[auth]\nhttp_url = '{}'\nhttp_connections = 1\nban_failures = 0\n\
         [[listeners]]\naddress = 'tcp://127.0.0.1:0'\nproxy_from = ['127.0.0.0/8']\n",
        service.url()
    );
    Setup::shards(2).own_listeners().config(&config).start()
}

#[test]
fn thousands_of_one_address_keep_nobody_else_out() {
    const MANY: usize = 60;
    let service = Service::slow(Duration::from_millis(50), vec![(403, String::new())]);
    let broker = one_by_one(&service, "");
    let guess = |number: usize| {
        let mut stream = from(&broker, "10.9.8.7");
        let client_id = format!("guess-{number}");
        let entrance = Entrance::of(4, &client_id, "ann");
        stream.write_all(&entrance.packet()).expect("the broker reads");
        stream
    };
    let many: Vec<TcpStream> = (0..MANY).map(guess).collect();
    while service.asked().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let entrance = Entrance::of(4, "other", "bob");
    assert_eq!(Client::come(from(&broker, "10.9.8.6"), &entrance).err(), Some(4));
    let asked = service.asked().len();
    assert!(asked < MANY / 2, "{asked} of {} were asked about before", many.len());
}

#[test]
fn who_waits_no_longer_is_not_asked_about() {
    let service = Service::slow(Duration::from_millis(400), vec![(403, String::new())]);
    let broker = one_by_one(&service, "[mqtt]\nconnect_timeout_ms = 300\n");
    let come = |address: &str| {
        let mut stream = from(&broker, address);
        stream.write_all(&Entrance::of(4, "c", "ann").packet()).expect("the broker reads");
        stream
    };
    let mut many: Vec<TcpStream> = (0..8).map(|_| come("10.9.8.7")).collect();
    for stream in &mut many {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    std::thread::sleep(Duration::from_millis(1000));
    assert!(service.asked().len() <= 2, "{} were asked about", service.asked().len());
}

#[test]
fn a_list_of_nothing_is_not_everything() {
    let nothing = json!({"result": "allow", "publish": [], "subscribe": []});
    let everything = json!({"result": "allow"});
    let service = Service::start(vec![(200, nothing.to_string()), (200, everything.to_string())]);
    let broker = broker(&service, "");
    let mut client = ann(&broker).expect("it is allowed to enter");
    assert_eq!((client.publish("x"), client.subscribe("#")), (0x87, 0x87));
    let mut client = other(&broker).expect("it is allowed to enter");
    assert_eq!((client.publish("x"), client.subscribe("#")), (0x10, 1));
}

#[test]
fn what_is_allowed_is_remembered_if_asked_for() {
    let service = Service::start(vec![(200, json!({"result": "allow"}).to_string())]);
    let broker = broker(&service, "http_cache_s = 600\n");
    for _ in 0..3 {
        assert!(ann(&broker).is_ok());
    }
    assert_eq!(service.asked().len(), 1);
    let other = Client::enter(&broker, 4, (Some("ann"), Some(b"other")), None);
    assert!(other.is_ok());
    assert_eq!(service.asked().len(), 2, "another password is another question");
}

#[test]
fn what_is_allowed_is_not_remembered_for_longer_than_it_lasts() {
    let allowed = json!({"result": "allow", "expires_s": 1});
    let service = Service::start(vec![(200, allowed.to_string())]);
    let broker = broker(&service, "http_cache_s = 600\n");
    assert!(ann(&broker).is_ok() && ann(&broker).is_ok());
    assert_eq!(service.asked().len(), 1);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(ann(&broker).is_ok());
    assert_eq!(service.asked().len(), 2, "its time was over");
}

#[test]
fn who_says_nothing_lets_nobody_in_and_keeps_nobody_waiting() {
    let directory = Directory::new();
    let file = directory.join("passwords");
    add(&file, "ann", "secret");
    let service = Service::start(vec![(0, String::new())]);
    let more = format!("http_timeout_ms = 700\npassword_file = '{}'\n", file.display());
    let broker = broker(&service, &more);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| Client::log_in(&broker, 5, "bob", None).err()))
            .collect();
        assert!(ann(&broker).is_ok(), "she is known without it");
        for one in waiting {
            assert_eq!(one.join().expect("no panic"), Some(0x88));
        }
    });
}

#[test]
fn anonymous_clients_are_asked_about_too() {
    let service = Service::start(vec![
        (200, json!({"result": "ignore"}).to_string()),
        (200, json!({"result": "allow"}).to_string()),
    ]);
    let broker = broker(&service, "");
    let nobody = || Client::enter(&broker, 5, (None, None), None).err();
    assert_eq!(nobody(), Some(0x87), "nobody knows it");
    assert_eq!(nobody(), None);
}
