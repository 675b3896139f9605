//! A client that comes for one request of the management API.

use std::sync::Arc;

use super::Client;
use crate::auth::User;
use crate::broker::Broker;
use crate::broker::mailbox::Mailbox;
use crate::broker::refusal::Refusal;

impl Client {
    /// With the user's permissions, but no connection: no limit counts it and no listing shows it.
    pub fn visit(broker: &Broker, user: Arc<User>, vhost: &str) -> Result<Self, Refusal> {
        let name = vhost;
        let vhost = broker.vhost(name).ok_or_else(|| Refusal::VhostNotFound(name.into()))?;
        let version = broker.auth().version();
        let access = broker
            .auth()
            .access_of(&user, name)
            .ok_or_else(|| Refusal::VhostAccess { vhost: name.into(), user: user.name.to_string() })?;
        let mailbox = Arc::new(Mailbox::new(broker.next_connection(), user.name.as_str().into()));
        Ok(Self::new(broker, user, vhost, mailbox, (access, version)))
    }
}
