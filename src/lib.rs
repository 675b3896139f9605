//! Lepus: a message broker that existing RabbitMQ clients use unchanged.

pub mod amqp;
pub mod auth;
pub mod broker;
pub mod perf;
pub mod wire;
