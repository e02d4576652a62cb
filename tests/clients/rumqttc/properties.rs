//! What 5.0 brought.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::peer::{Peer, Site, V5};

/// What a publisher says about a message arrives with it, here by way of a retained one.
pub(super) fn properties_are_handed_on(site: &Site) {
    let topic = site.topic("t");
    let mut subscriber: V5 = site.connect("subscriber");
    subscriber.subscribe(&topic, 1);
    let publisher: V5 = site.connect("publisher");
    let properties = PublishProperties {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some(site.topic("answer")),
        correlation_data: Some(vec![0, 1, 255].into()),
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(1000),
        user_properties: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        ..PublishProperties::default()
    };
    publisher
        .client
        .publish_with_properties(&topic, QoS::AtLeastOnce, false, "x", properties.clone())
        .expect("the client's thread takes it");
    let message = subscriber.expect(&topic, "x");
    let mut found = message.properties.expect("it has properties");
    let left = found.message_expiry_interval.take().expect("it expires");
    assert!((900..=1000).contains(&left), "{left} s left");
    assert_eq!(found, PublishProperties { message_expiry_interval: None, ..properties });
}
