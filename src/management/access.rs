//! What a user may see and do, by its tags (US-4) and permissions.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;

use super::Management;
use super::call::Call;
use super::reply::Refused;
use crate::auth::{Origin, User};
use crate::broker::Vhost;

/// A right that tags give. Each holder of one has [`Level::Management`] too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// Whoever may use the API at all.
    Management,
    /// Policies and parameters of one's vhosts.
    Policymaker,
    /// Sees all vhosts, connections and nodes.
    Monitoring,
    /// Everything.
    Administrator,
}

impl Level {
    /// Does the user have it?
    pub(super) fn is_of(self, user: &User) -> bool {
        let tags: &[&str] = match self {
            Self::Management => &["administrator", "monitoring", "policymaker", "management"],
            Self::Policymaker => &["administrator", "policymaker"],
            Self::Monitoring => &["administrator", "monitoring"],
            Self::Administrator => &["administrator"],
        };
        tags.iter().any(|tag| user.has_tag(tag))
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Management => "Not management user",
            Self::Policymaker => "User not authorised to access object",
            Self::Monitoring => "Not monitor user",
            Self::Administrator => "Not administrator user",
        }
    }

    /// 401 for whoever does not have it.
    pub(super) fn require(self, user: &User) -> Result<(), Refused> {
        if self.is_of(user) { Ok(()) } else { Err(Refused::not_authorised(self.reason())) }
    }
}

/// Vhosts that a user of another backend than the internal one may use, as they were when the request came; the others
/// are looked up.
#[derive(Debug, Default)]
pub(super) struct Admitted(Option<HashSet<Arc<str>>>);

impl Admitted {
    /// Asks the user's backend about all of them.
    pub(super) async fn ask(user: &User, peer: SocketAddr, management: &Management) -> Self {
        let Some(authorizer) = user.authorizer() else { return Self(None) };
        let from = Some(Origin { ip: peer.ip() });
        let ask = |vhost: Arc<Vhost>| async move {
            let admitted = authorizer.admit(vhost.name(), from).wait().await.is_ok();
            admitted.then(|| vhost.name().clone())
        };
        let admitted = join_all(management.broker().vhosts().into_iter().map(ask)).await;
        Self(Some(admitted.into_iter().flatten().collect()))
    }
}

impl Call {
    /// Sees objects of others, and of vhosts it may not use.
    pub(super) fn is_monitor(&self) -> bool {
        Level::Monitoring.is_of(&self.user)
    }

    pub(super) fn is_administrator(&self) -> bool {
        Level::Administrator.is_of(&self.user)
    }

    /// May the user work in this vhost?
    pub(super) fn may_use(&self, management: &Management, vhost: &str) -> bool {
        match &self.admitted.0 {
            Some(vhosts) => vhosts.contains(vhost),
            None => management.broker().auth().access_of(&self.user, vhost).is_some(),
        }
    }

    /// Whoever may not use a vhost does not see what is in it, administrators aside.
    pub(super) fn sees(&self, management: &Management, vhost: &str) -> bool {
        self.is_administrator() || self.may_use(management, vhost)
    }

    /// The vhosts themselves that the user sees, by name: a monitor all of them.
    pub(super) fn known_vhosts(&self, management: &Management) -> Vec<Arc<Vhost>> {
        self.vhosts_where(management, |vhost| self.is_monitor() || self.may_use(management, vhost))
    }

    /// The vhost of a path, if it is one of [`Self::known_vhosts`].
    pub(super) fn known_vhost(&self, management: &Management, name: &str) -> Result<Arc<Vhost>, Refused> {
        let vhost = management.broker().vhost(name).ok_or_else(Refused::no_object)?;
        let is_known = self.is_monitor() || self.may_use(management, name);
        if is_known { Ok(vhost) } else { Err(Refused::not_found("Not Found")) }
    }

    fn vhosts_where(&self, management: &Management, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Vhost>> {
        let mut vhosts = management.broker().vhosts();
        vhosts.retain(|vhost| wanted(vhost.name()));
        vhosts.sort_by(|a, b| a.name().cmp(b.name()));
        vhosts
    }

    /// The vhosts whose objects the user sees, by name.
    pub(super) fn visible_vhosts(&self, management: &Management) -> Vec<Arc<Vhost>> {
        self.vhosts_where(management, |vhost| self.sees(management, vhost))
    }

    /// The vhost of a path, if the user sees it.
    pub(super) fn vhost(&self, management: &Management, name: &str) -> Result<Arc<Vhost>, Refused> {
        let vhost = management.broker().vhost(name).ok_or_else(Refused::no_object)?;
        if self.sees(management, name) { Ok(vhost) } else { Err(Refused::not_found("Not Found")) }
    }

    /// The vhost of a path, or all that the user sees.
    pub(super) fn vhosts(&self, management: &Management, name: Option<&str>) -> Result<Vec<Arc<Vhost>>, Refused> {
        match name {
            Some(name) => Ok(vec![self.vhost(management, name)?]),
            None => Ok(self.visible_vhosts(management)),
        }
    }
}
