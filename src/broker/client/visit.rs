//! A client that comes for one request of the management API.

use std::sync::Arc;

use super::{Client, permission};
use crate::auth::{User, Verdict};
use crate::broker::Broker;
use crate::broker::mailbox::Mailbox;
use crate::broker::refusal::Refusal;

impl Client {
    /// With the user's permissions, but no connection: no limit counts it and no listing shows it.
    /// `admitted` is what its authorizer, if it has one, says to the vhost.
    pub fn visit(broker: &Broker, user: Arc<User>, vhost: &str, admitted: Verdict) -> Result<Self, Refusal> {
        let name = vhost;
        let vhost = broker.vhost(name).ok_or_else(|| Refusal::VhostNotFound(name.into()))?;
        let access = permission::access(broker, &user, name, admitted)?;
        let mailbox = Arc::new(Mailbox::new(broker.next_connection(), user.name.as_str().into()));
        Ok(Self::new(broker, user, vhost, mailbox, access))
    }
}
