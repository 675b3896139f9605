//! What the client's user may do: asked before every request, of the internal backend's permissions or of the user's own
//! backend.

use std::sync::Arc;

use super::Client;
use crate::auth::{Access, Denied, Question, Resource, Right, User, Verdict};
use crate::broker::Broker;
use crate::broker::exchange::ExchangeType;
use crate::broker::refusal::Refusal;
use crate::broker::route::Versions;
use crate::broker::vhost::Exchange;

/// The user's permissions in a vhost, if it may use it, and the version of everybody's that they are of.
pub(super) fn access(broker: &Broker, user: &User, vhost: &str, admitted: Verdict) -> Result<(Access, u64), Refusal> {
    let refused = |denied| Refusal::VhostAccess { vhost: vhost.into(), user: user.name.clone(), denied };
    let version = broker.auth().version();
    if user.authorizer().is_some() {
        return admitted.map(|()| (Access::default(), version)).map_err(refused);
    }
    let access = broker.auth().access_of(user, vhost).ok_or_else(|| refused(Denied::default()))?;
    Ok((access, version))
}

impl Client {
    fn refresh_access(&mut self) {
        let version = self.broker.auth().version();
        if version != self.access_version {
            self.access_version = version;
            // Without an entry for the vhost nothing is allowed.
            self.access = self.broker.auth().access_of(&self.user, self.vhost.name()).unwrap_or_default();
        }
    }

    /// What a cached route depends on.
    pub(super) fn versions(&self) -> Versions {
        let own = self.foreign.as_ref().map_or(0, |foreign| foreign.version());
        // Both only grow, so a sum that was never comes again.
        Versions { vhost: self.vhost.version(), auth: self.broker.auth().version() + own }
    }

    fn check(&mut self, right: Right, resource: Resource, name: &str) -> Result<(), Refusal> {
        let verdict = if self.foreign.is_some() {
            self.ask(right, resource.clone(), name)?
        } else {
            self.refresh_access();
            let is_allowed = match &resource {
                Resource::Queue | Resource::Exchange => self.access.allows(right, name),
                Resource::Topic(key) => self.access.allows_topic(right, name, key),
            };
            if is_allowed { Ok(()) } else { Err(Denied::default()) }
        };
        verdict.map_err(|denied| self.refusal(right, resource, name, denied))
    }

    fn ask(&mut self, right: Right, resource: Resource, name: &str) -> Result<Verdict, Refusal> {
        let Some(foreign) = &mut self.foreign else { return Ok(Err(Denied::default())) };
        let question = Question { vhost: self.vhost.name().clone(), right, resource, name: name.to_owned() };
        foreign.decide(question).ok_or(Refusal::Unanswered)
    }

    fn refusal(&self, right: Right, resource: Resource, name: &str, denied: Denied) -> Refusal {
        let (right, user) = (right.as_str(), self.user.name.clone());
        match resource {
            Resource::Queue => Refusal::Access { right, what: self.vhost.queue_named(name), user, denied },
            Resource::Exchange => Refusal::Access { right, what: self.vhost.exchange_named(name), user, denied },
            Resource::Topic(key) => {
                Refusal::TopicAccess { right, key, exchange: self.vhost.exchange_named(name), user, denied }
            }
        }
    }

    /// QU-10: a passive declare needs any of the three permissions; the refusal names configure.
    pub(super) fn check_any_right(&mut self, resource: Resource, name: &str) -> Result<(), Refusal> {
        // All three are asked for at once: a no to one of them would be forgotten before the next is answered.
        let checks =
            [Right::Read, Right::Write, Right::Configure].map(|right| self.check(right, resource.clone(), name));
        if checks.iter().any(Result::is_ok) {
            if let Some(foreign) = &mut self.foreign {
                foreign.take_back_questions();
            }
            return Ok(());
        }
        let [read, write, configure] = checks;
        if [&read, &write].contains(&&Err(Refusal::Unanswered)) { Err(Refusal::Unanswered) } else { configure }
    }

    pub(super) fn check_queue(&mut self, right: Right, queue: &str) -> Result<(), Refusal> {
        self.check(right, Resource::Queue, queue)
    }

    pub(super) fn check_exchange(&mut self, right: Right, exchange: &str) -> Result<(), Refusal> {
        let name = if exchange.is_empty() { "amq.default" } else { exchange };
        self.check(right, Resource::Exchange, name)
    }

    /// What is besides to be allowed of each of the keys, if the exchange is a topic exchange.
    pub(super) fn check_topics(&mut self, right: Right, exchange: &Exchange, keys: &[&str]) -> Result<(), Refusal> {
        if exchange.kind != ExchangeType::Topic {
            return Ok(());
        }
        let mut checked = Ok(());
        for key in keys {
            match self.check(right, Resource::Topic((*key).to_owned()), &exchange.name) {
                // So are the others, with it.
                Err(Refusal::Unanswered) => checked = Err(Refusal::Unanswered),
                other => other?,
            }
        }
        checked
    }

    /// May the user still read from this queue? What would have to be asked first, it may.
    pub fn may_read(&mut self, queue: &str) -> bool {
        let checked = self.check_queue(Right::Read, queue);
        if let Some(foreign) = &mut self.foreign {
            foreign.take_back_questions();
        }
        matches!(checked, Ok(()) | Err(Refusal::Unanswered))
    }

    /// Has the user as its backend knows it now.
    pub fn set_user(&mut self, user: Arc<User>) {
        if let (Some(foreign), Some(authorizer)) = (&mut self.foreign, user.authorizer()) {
            foreign.set_authorizer(authorizer.clone());
        }
        self.user = user;
    }
}
