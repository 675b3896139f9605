//! Why a command did not do what it was told, and the exit code that says so: those of sysexits, as RabbitMQ's tools have
//! them.

/// The command line cannot be understood.
pub(super) const USAGE: u8 = 64;
/// What it names is not there, or what it gives is wrong.
pub(super) const DATA: u8 = 65;
/// There is no such user.
pub(super) const NO_USER: u8 = 67;
/// The broker cannot be reached, or does not do that.
pub(super) const UNAVAILABLE: u8 = 69;
/// Something went wrong on the way.
pub(super) const SOFTWARE: u8 = 70;
/// It may go well later.
pub(super) const TRY_AGAIN: u8 = 75;

/// See the module's documentation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The command line is wrong: shown with what was given and how it should be.
    Arguments,
    /// Below the word Error.
    Error,
    /// As it is.
    Plain,
}

impl Failure {
    pub(super) fn arguments(text: impl Into<String>) -> Self {
        Self { code: USAGE, text: text.into(), kind: Kind::Arguments }
    }

    /// A value in the command line that cannot be.
    pub(super) fn bad_argument(text: impl Into<String>) -> Self {
        Self { code: DATA, text: text.into(), kind: Kind::Arguments }
    }

    pub(super) fn error(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), kind: Kind::Error }
    }

    pub(super) fn plain(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), kind: Kind::Plain }
    }

    pub(super) fn no_vhost(name: &str) -> Self {
        Self::plain(DATA, format!("Virtual host '{name}' does not exist"))
    }
}
