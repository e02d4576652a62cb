//! What 5.0 brought: the properties of `-D`.

use super::command::Site;

/// What a publisher says about a message arrives with it.
pub(super) fn properties_are_handed_on(site: &Site) {
    let topic = site.name("t");
    let format = "message %C|%D|%F|%P|%R|%p";
    let mut subscriber = site.subscriber_with(format, &["-t", &topic, "-q", "1"]);
    #[rustfmt::skip]
    site.publish(&[
        "-t", &topic, "-q", "1", "-m", "x",
        "-D", "publish", "content-type", "text/plain",
        "-D", "publish", "correlation-data", "4711",
        "-D", "publish", "payload-format-indicator", "1",
        "-D", "publish", "response-topic", "answer/here",
        "-D", "publish", "user-property", "a", "1",
        "-D", "publish", "user-property", "a", "2",
        "-D", "publish", "message-expiry-interval", "1000",
    ]);
    subscriber.expect("text/plain|4711|1|a:1 a:2|answer/here|x");
}

/// A topic alias is resolved, also where the topic is named only once.
pub(super) fn topic_alias_stands_for_a_topic(site: &Site) {
    let topic = site.name("t");
    let subscriber = site.subscriber(&["-t", &topic, "-q", "1", "-C", "20"]);
    #[rustfmt::skip]
    site.publish(&[
        "-t", &topic, "-q", "1", "-m", "x", "--repeat", "20",
        "-D", "publish", "topic-alias", "1",
    ]);
    assert_eq!(subscriber.finish(), vec![format!("{topic} 1 0 x"); 20]);
}

/// The identifier of a subscription comes with each of its messages.
pub(super) fn subscription_identifier_comes_back(site: &Site) {
    let topic = site.name("t");
    let arguments = ["-t", &topic, "-D", "subscribe", "subscription-identifier", "4711"];
    let mut subscriber = site.subscriber_with("message %S|%p", &arguments);
    site.publish(&["-t", &topic, "-m", "x"]);
    subscriber.expect("4711|x");
}

/// `-x` says how long a session lives; 0 ends it with its connection.
pub(super) fn session_expiry_is_kept(site: &Site) {
    let topic = site.name("t");
    let session = |client: &'static str, expiry: &'static str, rest: &[&str]| {
        let client = site.name(client).replace('/', "-");
        let mut arguments = vec!["-t", &topic, "-i", &client, "-q", "1", "-c", "-x", expiry];
        arguments.extend(rest);
        site.collect(&arguments)
    };
    session("kept", "3600", &["-E"]);
    session("gone", "0", &["-E"]);
    site.publish(&["-t", &topic, "-q", "1", "-m", "waited"]);
    site.publish(&["-t", &topic, "-q", "1", "-r", "-m", "retained"]);
    assert_eq!(
        session("kept", "3600", &["-C", "2"]),
        [format!("{topic} 1 0 waited"), format!("{topic} 1 0 retained")]
    );
    assert_eq!(session("gone", "0", &["-C", "1"]), [format!("{topic} 1 1 retained")]);
}

/// mosquitto_rr asks and gets its answer, by the response topic of its request.
pub(super) fn a_request_is_answered(site: &Site) {
    let (requests, answers) = (site.name("requests"), site.name("answers"));
    let mut responder = site.subscriber_with("message %R|%D|%p", &["-t", &requests, "-q", "1"]);
    #[rustfmt::skip]
    let mut requester = site.requester(&[
        "-t", &requests, "-e", &answers, "-m", "6 * 7", "-q", "1",
        "-D", "publish", "correlation-data", "4711",
    ]);
    let request = responder.next();
    assert_eq!(request, format!("{answers}|4711|6 * 7"));
    #[rustfmt::skip]
    site.publish(&[
        "-t", &answers, "-q", "1", "-m", "42", "-D", "publish", "correlation-data", "4711",
    ]);
    requester.expect(&format!("{answers} 1 0 42"));
}

/// A will has properties of its own.
pub(super) fn a_will_with_properties(site: &Site) {
    let (topic, elsewhere) = (site.name("will"), site.name("elsewhere"));
    let mut observer = site.subscriber_with("message %C|%P|%p", &["-t", &topic, "-q", "1"]);
    #[rustfmt::skip]
    site.subscriber(&[
        "-t", &elsewhere, "--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1",
        "-D", "will", "content-type", "text/plain", "-D", "will", "user-property", "a", "1",
    ]).kill();
    observer.expect("text/plain|a:1|gone");
}
