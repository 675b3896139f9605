//! A user whom the internal backend does not know: its own backend is asked what it may do. What the answer waits for is a
//! request that is made again when it has come, so a backend that takes its time holds up one channel and nobody else.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use super::{Client, server_name};
use crate::auth::{Asked, Authorizer, Denied, Later, Question, RenewError, Renewed, User, Verdict};
use crate::broker::event::{ChannelKey, Event, Outcome, QueueKey, Reply};
use crate::broker::refusal::Refusal;

/// A yes is remembered for so long: RabbitMQ's `channel_tick_interval`, after which its channels forget.
pub const VERDICTS_KEPT: Duration = Duration::from_secs(60);

/// When there are so many, the older ones are forgotten when as many have come again: a request that asks in several rounds
/// finds what it asked first, however much it asks.
const VERDICTS_MAX: usize = 1024;

type Answered = (Question, Verdict);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Foreign {
    authorizer: Arc<dyn Authorizer>,
    allowed: HashSet<Question>,
    allowed_before: HashSet<Question>,
    /// Kept for the requests that are made again at once.
    refused: Vec<(Question, Denied)>,
    /// What a request that could not be decided wants to know.
    questions: Vec<Later<Answered>>,
    waiting: FuturesUnordered<Later<(Reply, Vec<Answered>)>>,
    /// Queues' names that were made for requests that wait.
    server_names: HashMap<ChannelKey, String>,
    version: u64,
}

impl Foreign {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            authorizer,
            allowed: HashSet::new(),
            allowed_before: HashSet::new(),
            refused: Vec::new(),
            questions: Vec::new(),
            waiting: FuturesUnordered::new(),
            server_names: HashMap::new(),
            version: 0,
        }
    }

    /// Grows when what was allowed need not be so any more.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// `None`: the backend must be asked first.
    pub(super) fn decide(&mut self, question: Question) -> Option<Verdict> {
        if self.allowed.contains(&question) || self.allowed_before.contains(&question) {
            return Some(Ok(()));
        }
        if let Some((_, denied)) = self.refused.iter().find(|(refused, _)| *refused == question) {
            return Some(Err(denied.clone()));
        }
        match self.authorizer.ask(&question) {
            Asked::Now(verdict) => Some(verdict),
            Asked::Later(answer) => {
                self.questions.push(Later::new(async move { (question, answer.await) }));
                None
            }
        }
    }

    pub(super) fn take_back_questions(&mut self) {
        self.questions.clear();
    }

    pub(super) fn forget_refused(&mut self) {
        self.refused.clear();
    }

    fn forget(&mut self) {
        self.allowed.clear();
        self.allowed_before.clear();
        self.version += 1;
    }

    pub(super) fn set_authorizer(&mut self, authorizer: Arc<dyn Authorizer>) {
        self.authorizer = authorizer;
        self.forget();
    }

    /// Answers that have come, as events. True: there were some.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, into: &mut Vec<Event>) -> bool {
        let mut any = false;
        while let Poll::Ready(Some((reply, answers))) = Pin::new(&mut self.waiting).poll_next(cx) {
            any = true;
            if self.allowed.len() >= VERDICTS_MAX {
                self.allowed_before = std::mem::take(&mut self.allowed);
            }
            for (question, verdict) in answers {
                match verdict {
                    Ok(()) => drop(self.allowed.insert(question)),
                    Err(denied) => self.refused.push((question, denied)),
                }
            }
            let Reply { channel, ticket } = reply;
            into.push(Event::Done { channel, ticket, result: Ok(Outcome::Decided) });
        }
        any
    }
}

impl Client {
    /// The user's backend may have to be asked before a request is decided: [`Refusal::Unanswered`].
    pub fn may_have_to_ask(&self) -> bool {
        self.foreign.is_some()
    }

    /// Asks what the request that was just answered [`Refusal::Unanswered`] wants to know. The answer is
    /// [`Outcome::Decided`]; then the request is to be made again, before the next [`Self::flush`].
    pub fn await_verdicts(&mut self, reply: Reply) {
        if let Some(foreign) = &mut self.foreign {
            let questions = std::mem::take(&mut foreign.questions);
            foreign.waiting.push(Later::new(async move { (reply, join_all(questions).await) }));
        }
    }

    /// Forgets what was allowed: the backend is asked anew.
    pub fn forget_verdicts(&mut self) {
        if let Some(foreign) = &mut self.foreign {
            foreign.forget();
        }
    }

    /// For how long the user's credential is good; `None`: for ever (SA-8).
    pub fn credential_expires_in(&self) -> Option<Duration> {
        self.user.authorizer()?.expires_in()
    }

    /// SA-7: what comes of a new secret, to be handed to [`Self::set_user`]. `None`: the user's backend has no use for
    /// one.
    pub fn renew(&self, secret: &[u8]) -> Option<Later<Result<Arc<User>, Refusal>>> {
        let renewal = self.user.authorizer()?.renew(secret)?;
        let (vhost, user) = (self.vhost.name().clone(), self.user.clone());
        Some(Later::new(async move {
            let Renewed { tags, authorizer } = renewal.await.map_err(|error| match error {
                RenewError::Refused => Refusal::SecretRefused,
                RenewError::Failed => Refusal::SecretFailed,
            })?;
            let name = user.name.clone();
            let refused = |denied| Refusal::VhostAccess { vhost: (*vhost).into(), user: name.clone(), denied };
            authorizer.admit(&vhost, None).wait().await.map_err(refused)?;
            Ok(Arc::new(User::of_backend(name, tags, user.limits, Some(authorizer))))
        }))
    }

    /// The names of the vhost's queues.
    pub fn queue_names(&self) -> HashMap<QueueKey, Arc<str>> {
        self.vhost.queues().into_iter().map(|queue| (queue.key, queue.name.clone())).collect()
    }

    /// The name that was made for the channel's request, if it is made again; else a new one.
    pub(super) fn take_server_name(&mut self, channel: ChannelKey) -> String {
        let kept = self.foreign.as_mut().and_then(|foreign| foreign.server_names.remove(&channel));
        kept.unwrap_or_else(|| server_name("amq.gen-"))
    }

    pub(super) fn keep_server_name(&mut self, channel: ChannelKey, name: String) {
        if let Some(foreign) = &mut self.foreign {
            foreign.server_names.insert(channel, name);
        }
    }

    pub(super) fn forget_server_name(&mut self, channel: ChannelKey) {
        if let Some(foreign) = &mut self.foreign {
            foreign.server_names.remove(&channel);
        }
    }
}
