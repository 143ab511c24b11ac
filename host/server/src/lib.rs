//! The HTTP server: the callout pipeline (`callout.rs`, which reads like the list in ARCHITECTURE.md), health, and the process's start and end.

mod answer;
mod attempt;
mod callout;
mod convert;
mod health;
mod invoke;
mod listener;
mod password;
mod request;
mod server;
mod status;
mod telemetry;

pub use server::{Server, StartError};
