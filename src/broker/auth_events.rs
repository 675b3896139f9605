//! Changes of users and permissions as events (EV-1).

use super::Broker;
use super::events::INTERNAL;
use crate::auth::AuthChange;
use crate::wire::Value;

impl Broker {
    /// From now on changes of users and permissions are told.
    pub(super) fn watch_auth(&self) {
        let keeper = self.0.keeper.clone();
        self.auth().set_on_change(Box::new(move || keeper.system_changed()));
        let events = self.0.events.clone();
        self.auth().set_observer(Box::new(move |change| match change {
            AuthChange::UserCreated(name) => events.tell("user.created", INTERNAL, || [("name", name.into())]),
            AuthChange::UserDeleted(name) => events.tell("user.deleted", INTERNAL, || [("name", name.into())]),
            AuthChange::PasswordChanged(name) => {
                events.tell("user.password.changed", INTERNAL, || [("name", name.into())]);
            }
            AuthChange::TagsSet(name, tags) => events.tell("user.tags.set", INTERNAL, || {
                let tags = tags.iter().map(|tag| tag.as_str().into()).collect();
                [("name", name.into()), ("tags", Value::Array(tags))]
            }),
            AuthChange::PermissionCreated { user, vhost, patterns: [configure, write, read] } => {
                events.tell("permission.created", INTERNAL, || {
                    [
                        ("user", user.into()),
                        ("vhost", vhost.into()),
                        ("configure", configure.into()),
                        ("write", write.into()),
                        ("read", read.into()),
                    ]
                });
            }
            AuthChange::PermissionDeleted { user, vhost } => {
                events.tell("permission.deleted", INTERNAL, || [("user", user.into()), ("vhost", vhost.into())]);
            }
            AuthChange::TopicPermissionCreated { user, vhost, exchange, patterns: [write, read] } => {
                events.tell("topic.permission.created", INTERNAL, || {
                    [
                        ("user", user.into()),
                        ("vhost", vhost.into()),
                        ("exchange", exchange.into()),
                        ("write", write.into()),
                        ("read", read.into()),
                    ]
                });
            }
            AuthChange::TopicPermissionDeleted { user, vhost } => {
                events.tell("topic.permission.deleted", INTERNAL, || [("user", user.into()), ("vhost", vhost.into())]);
            }
        }));
    }
}
