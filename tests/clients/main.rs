//! Third-party clients against the real binary.
//!
//! What a client and the broker make of each other is the product; so each scenario is driven by
//! clients that were written without this broker in mind: paho-mqtt (Python), MQTT.js,
//! mosquitto_pub and mosquitto_sub, and rumqttc. Every scenario runs over several numbers of
//! shards, and each combination is a test of its own with a broker of its own.
//!
//! `make clients` installs them. Where one is missing its tests say so and pass, unless
//! `HAWKER_TEST_CLIENTS=required`, as `make test` has it.

#[path = "../support/mod.rs"]
mod support;

mod mosquitto;
mod mqttjs;
mod paho;
mod rumqttc;
mod script;
