//! Configuration: `rabbitmq.conf` and the environment turned into [`crate::server::Options`].
//!
//! Owns RabbitMQ's names of settings and how their values are written. It reads what it is given and touches nothing
//! else: the caller hands in the environment, so that a test can hand in another. Start reading in [`keys`].

mod auth_keys;
pub mod conf;
pub mod env;
mod error;
pub mod keys;
pub mod known;
pub mod logging;
pub mod plugins;
pub mod quantity;
pub mod show;

pub use error::Error;

/// What a value that is either true or false says.
fn switch(value: &str) -> Option<bool> {
    match value {
        "true" | "on" => Some(true),
        "false" | "off" => Some(false),
        _ => None,
    }
}
