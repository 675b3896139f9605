//! Commands that need no broker.

use super::failure::Failure;
use super::line::Line;
use super::output::Outcome;
use super::table::{Command, DIAGNOSTICS, EVERY, Run};
use crate::broker::RABBITMQ_VERSION;

fn version(_: &Line) -> Result<Outcome, Failure> {
    Ok(Outcome::said(RABBITMQ_VERSION))
}

/// Those of rustls.
fn tls_versions(_: &Line) -> Result<Outcome, Failure> {
    Ok(Outcome::said("tlsv1.3\ntlsv1.2"))
}

/// Named as IANA does.
fn cipher_suites(_: &Line) -> Result<Outcome, Failure> {
    let suites = rustls::crypto::ring::default_provider().cipher_suites;
    let names = suites.iter().filter_map(|suite| suite.suite().as_str()).map(|name| name.replace("TLS13_", "TLS_"));
    Ok(Outcome::said(names.collect::<Vec<_>>().join("\n")))
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        EVERY,
        ("version", ""),
        "Displays the version of RabbitMQ that these tools are like",
        "",
        Run::Alone(version),
    ),
    Command::new(
        DIAGNOSTICS,
        ("cipher_suites", ""),
        "Lists cipher suites that the broker knows",
        "Listing available cipher suites in IANA format",
        Run::Alone(cipher_suites),
    ),
    Command::new(
        DIAGNOSTICS,
        ("tls_versions", ""),
        "Lists TLS versions that the broker knows",
        "Listing all TLS versions supported ...",
        Run::Alone(tls_versions),
    ),
];
