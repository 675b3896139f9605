//! For how long the user of an open connection is let do what it does: its credential expires, is renewed, and what its
//! backend allowed is forgotten after a while. Nothing of this concerns users of the internal backend.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::auth::{Later, User};
use crate::broker::{Client, Refusal, VERDICTS_KEPT};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Credential {
    /// SA-8.
    expires: Option<Instant>,
    /// When to forget what the backend allowed.
    forget: Option<Instant>,
    /// SA-7: a new secret is being looked at. Nothing is read meanwhile.
    renewal: Option<Later<Result<Arc<User>, Refusal>>>,
}

impl Credential {
    pub(super) fn new(client: &Client, now: Instant) -> Self {
        Self {
            // One that expires in a thousand years does not.
            expires: client.credential_expires_in().and_then(|left| now.checked_add(left)),
            forget: client.may_have_to_ask().then(|| now + VERDICTS_KEPT),
            renewal: None,
        }
    }

    pub(super) fn is_renewing(&self) -> bool {
        self.renewal.is_some()
    }

    pub(super) fn renew(&mut self, renewal: Later<Result<Arc<User>, Refusal>>) {
        self.renewal = Some(renewal);
    }

    /// The user as it is with the new secret.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<User>, Refusal>> {
        let Some(renewal) = &mut self.renewal else { return Poll::Pending };
        let polled = std::pin::Pin::new(renewal).poll(cx);
        if polled.is_ready() {
            self.renewal = None;
        }
        polled
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.expires.into_iter().chain(self.forget).min()
    }

    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// True: what was allowed is to be forgotten now.
    pub(super) fn forgets(&mut self, now: Instant) -> bool {
        let is_due = self.forget.is_some_and(|forget| forget <= now);
        if is_due {
            self.forget = Some(now + VERDICTS_KEPT);
        }
        is_due
    }
}
