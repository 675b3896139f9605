//! Backends other than the internal one, as the rest of the broker sees them: who lets users in ([`Authority`]), and who
//! says what such a user may do ([`Authorizer`]). What they answer may take a while; nobody waits for it here.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Auth, Refused, Right, User};

/// An answer that comes later, to whoever polls for it. Dropping it takes the question back.
pub struct Later<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Later<T> {
    /// What comes of this.
    pub fn new(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }
}

impl<T> Future for Later<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Later<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

/// An answer.
#[derive(Debug)]
pub enum Asked<T> {
    /// Here it is.
    Now(T),
    /// It comes later.
    Later(Later<T>),
}

impl<T> Asked<T> {
    /// Waits for it if need be.
    pub async fn wait(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The peer's address.
    pub ip: IpAddr,
}

impl Origin {
    /// It comes from the machine itself.
    pub fn is_loopback(self) -> bool {
        self.ip.to_canonical().is_loopback()
    }
}

/// Lets users in: the chain `auth_backends`.
pub trait Authority: Send + Sync {
    /// Decides a login by name and password, or token; without one if something else, such as a certificate, has proved
    /// the name. `auth` is the internal backend.
    fn log_in(
        &self,
        auth: &Auth,
        name: &str,
        password: Option<&[u8]>,
        from: Origin,
    ) -> Asked<Result<Arc<User>, Refused>>;
}

/// Says what one user may do whom the internal backend does not know.
pub trait Authorizer: Send + Sync + fmt::Debug {
    /// May the user use this vhost, from there?
    fn admit(&self, vhost: &str, from: Option<Origin>) -> Asked<Verdict>;

    /// May the user do this?
    fn ask(&self, question: &Question) -> Asked<Verdict>;

    /// For how long what it says is good; `None`: for ever.
    fn expires_in(&self) -> Option<Duration> {
        None
    }

    /// A new secret for the user (SA-7). `None`: this one does not expire, and needs none.
    fn renew(&self, _secret: &[u8]) -> Option<Later<Result<Renewed, RenewError>>> {
        None
    }
}

/// Something a user is about to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// Where.
    pub vhost: Arc<str>,
    /// What is needed for it.
    pub right: Right,
    /// What kind of thing it is done to.
    pub resource: Resource,
    /// The thing's name; the default exchange is `amq.default`.
    pub name: String,
}

/// The kind of a thing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Resource {
    /// A queue.
    Queue,
    /// An exchange.
    Exchange,
    /// A topic exchange, with that routing or binding key.
    Topic(String),
}

/// Yes or no.
pub type Verdict = Result<(), Denied>;

/// No. What a backend lets the client know of the reason is `Display`ed as the end of the refusal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Denied(Option<Box<Reason>>);

/// In a box, since most refusals have none.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reason(String);

impl Denied {
    /// The backend says why, and that clients may know.
    pub fn because(backend: &str, reason: &str) -> Self {
        Self(Some(Box::new(Reason(format!(" by backend {backend}: {reason}")))))
    }

    /// The backend could not say.
    pub fn failed(backend: &str, error: &str) -> Self {
        Self(Some(Box::new(Reason(format!(", backend {backend} returned an error: {error}")))))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |reason| f.write_str(&reason.0))
    }
}

/// What a new secret makes of the user.
#[derive(Debug)]
pub struct Renewed {
    /// The user's tags now.
    pub tags: Vec<String>,
    /// Who says now what it may do.
    pub authorizer: Arc<dyn Authorizer>,
}

/// Why a new secret was not taken (SA-7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenewError {
    /// It was looked at, and refused.
    Refused,
    /// It could not be looked at.
    Failed,
}
