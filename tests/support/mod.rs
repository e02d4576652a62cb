//! What every test of the real binary needs: a broker process and a place for its files.
//!
//! Each test starts brokers of its own on ports of the kernel's choice, so tests run in parallel
//! and in any order. A test binary takes this in with `mod support;`.

#![allow(dead_code, unused_imports)] // each test binary uses its own part

mod broker;
mod directory;
mod tool;

pub use broker::{Broker, Setup, certificate, listening};
pub use directory::{Directory, permit};
pub use tool::{answers, dashboard, has_browser, has_node, is_present, run};
