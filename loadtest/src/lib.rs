//! The load harness: drives any MQTT broker and counts every message.

pub mod broker;
pub mod cli;
pub mod client;
pub mod compare;
pub mod count;
pub mod desk;
pub mod dialler;
pub mod fleet;
pub mod html;
pub mod mqtt;
pub mod plan;
pub mod plot;
pub mod poll;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod scenario;
pub mod schedule;
pub mod settings;
pub mod stamp;
pub mod table;
pub mod track;
pub mod worker;
