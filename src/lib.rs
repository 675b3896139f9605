//! Lepus: a message broker that existing RabbitMQ clients use unchanged.

pub mod wire;
