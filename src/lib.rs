#![doc = include_str!("ARCHITECTURE.md")]

mod allocator;
pub mod amqp;
pub mod auth;
pub mod auth_backends;
pub mod broker;
#[doc(hidden)]
pub mod cli;
pub mod config;
mod hashing;
pub mod management;
pub mod perf;
pub mod replicate;
pub mod server;
pub mod store;
mod tls_client;
pub mod wire;

pub use allocator::Allocator;
pub use server::{Error, Options, Server, ServerBuilder, SyncMode, Watermark};
