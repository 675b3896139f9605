//! Plays the oracle scenarios of `compat/oracle` against a broker.
//!
//! ```text
//! cargo run --example oracle -- record 4.3 amqp://127.0.0.1:5674        write down what RabbitMQ says
//! cargo run --example oracle -- diff lepus amqp://127.0.0.1:5672 [FILTER]   compare with what was recorded
//! cargo run --example oracle -- play amqp://127.0.0.1:5672 [FILTER]     print transcripts
//! cargo run --example oracle -- check                                   look over the records, no broker
//! ```
//!
//! `record` and `play` load `setup.json` through the management API, by default at the AMQP port + 10000.

#[path = "../tests/oracle/mod.rs"]
mod oracle;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;

use oracle::{
    Expectations, OLDER, Report, STANDARD, agrees, difference, directory, format_transcripts, run_all, scenarios,
    verify,
};

/// The management API listens this far above the AMQP port.
const HTTP_OFFSET: u16 = 10_000;
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["record", version, uri] => record(version, address(uri)?),
        ["diff", broker, uri, rest @ ..] => diff(broker, address(uri)?, filter(rest)),
        ["play", uri, rest @ ..] => play(address(uri)?, filter(rest)),
        ["check"] => check(),
        _ => bail!("usage: oracle record VERSION URI | diff BROKER URI [FILTER] | play URI [FILTER] | check"),
    }
}

fn record(version: &str, address: SocketAddr) -> Result<()> {
    load_setup(address)?;
    let scenarios = scenarios("").map_err(|error| anyhow!(error))?;
    let first = finished(run_all(address, &scenarios))?;
    let second = finished(run_all(address, &scenarios))?;
    for (name, transcript) in &first {
        let again = &second[name];
        if transcript != again {
            bail!("{name} is not stable:\n{}", difference(transcript, again));
        }
    }
    let expectations = Expectations::load(directory()).map_err(|error| anyhow!(error))?;
    let target = directory().join("recorded").join(version);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    let mut areas: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for scenario in &scenarios {
        let transcript = first[&scenario.name].as_str();
        let standard = expectations.expected(STANDARD, &scenario.name);
        let is_same = standard.is_some_and(|standard| agrees(standard, transcript));
        if version == OLDER && is_same {
            continue;
        }
        let (area, name) = scenario.name.split_once('/').context("area/name")?;
        areas.entry(area).or_default().push((name, transcript));
    }
    for (area, transcripts) in &areas {
        let text = format_transcripts(transcripts.iter().copied());
        fs::write(target.join(format!("{area}.txt")), text)?;
    }
    let count: usize = areas.values().map(Vec::len).sum();
    println!("{count} of {} transcripts written for {version}", first.len());
    Ok(())
}

fn diff(broker: &str, address: SocketAddr, filter: &str) -> Result<()> {
    let started = Instant::now();
    let agreed = verify(address, broker, filter).map_err(|error| anyhow!(error))?;
    println!("{agreed} scenarios as {broker} in {:.1?}", started.elapsed());
    Ok(())
}

fn play(address: SocketAddr, filter: &str) -> Result<()> {
    load_setup(address)?;
    let scenarios = scenarios(filter).map_err(|error| anyhow!(error))?;
    for (name, outcome) in run_all(address, &scenarios) {
        match outcome {
            Ok(transcript) => println!("== {name}\n{transcript}"),
            Err(error) => println!("== {name}\nBROKEN: {error}\n"),
        }
    }
    Ok(())
}

fn check() -> Result<()> {
    let scenarios = scenarios("").map_err(|error| anyhow!(error))?;
    let expectations = Expectations::load(directory()).map_err(|error| anyhow!(error))?;
    let problems = expectations.problems(&scenarios);
    let mut areas: BTreeMap<&str, usize> = BTreeMap::new();
    for scenario in &scenarios {
        *areas.entry(scenario.area()).or_default() += 1;
    }
    for (area, count) in &areas {
        println!("{count:4} {area}");
    }
    println!("{:4} in all", scenarios.len());
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

/// The transcripts, if every scenario could be played.
fn finished(report: Report) -> Result<BTreeMap<String, String>> {
    report
        .into_iter()
        .map(|(name, outcome)| match outcome {
            Ok(transcript) => Ok((name, transcript)),
            Err(error) => Err(anyhow!("{name}: {error}")),
        })
        .collect()
}

fn filter<'a>(rest: &[&'a str]) -> &'a str {
    rest.first().copied().unwrap_or("")
}

/// The address in `amqp://host:port`.
fn address(uri: &str) -> Result<SocketAddr> {
    let host = uri.strip_prefix("amqp://").unwrap_or(uri);
    let mut addresses =
        host.trim_end_matches('/').to_socket_addrs().with_context(|| format!("{uri} is not amqp://host:port"))?;
    addresses.next().context("the host has no address")
}

/// Users, vhosts and permissions, as guest through the management API.
fn load_setup(amqp: SocketAddr) -> Result<()> {
    let body = fs::read(directory().join("setup.json"))?;
    let http = SocketAddr::new(amqp.ip(), amqp.port() + HTTP_OFFSET);
    let mut stream = TcpStream::connect(http).with_context(|| format!("management at {http}"))?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    let login = base64::engine::general_purpose::STANDARD.encode("guest:guest");
    let head = format!(
        "POST /api/definitions HTTP/1.0\r\nHost: {http}\r\nAuthorization: Basic {login}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("the broker refused setup.json: {answer}");
    }
    Ok(())
}
