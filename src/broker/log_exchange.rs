//! `amq.rabbitmq.log` (EV-3): lines of the log as messages, for whoever binds to it.

use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Broker;
use super::exchange::ExchangeType;
use super::message::{Body, LARGE_BODY_MIN};
use crate::wire::Properties;

const LOG_EXCHANGE: &str = "amq.rabbitmq.log";
/// The vhost that has it.
const LOG_VHOST: &str = "/";

impl Broker {
    /// Adds the exchange for log lines to the vhost `/`, if that is there. What has the name already stays.
    pub fn add_log_exchange(&self) {
        if let Some(vhost) = self.vhost(LOG_VHOST) {
            vhost.add_internal_exchange(LOG_EXCHANGE, ExchangeType::Topic);
        }
    }

    /// Publishes a line of the log under its level (`debug`, `info`, `warning`, `error`), if anybody is bound. Never
    /// waits.
    pub fn publish_log_line(&self, level: &str, line: &str) {
        let Some(vhost) = self.vhost(LOG_VHOST) else { return };
        let Some(exchange) = vhost.exchange(LOG_EXCHANGE) else { return };
        if exchange.bindings.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let properties =
            Properties { content_type: Some(b"text/plain"), timestamp: Some(now.as_secs()), ..Properties::default() };
        let body = match line.as_bytes() {
            long if long.len() >= LARGE_BODY_MIN => Body::Large(long.to_vec().into()),
            short => Body::Small(short),
        };
        self.publish_own(&vhost, &exchange, level, &properties, body);
    }
}
