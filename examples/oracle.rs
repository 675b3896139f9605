//! Plays the oracle scenarios of `compat/oracle` against a broker.
//!
//! ```text
//! cargo run --example oracle -- record 4.3 amqp://127.0.0.1:5674        write down what RabbitMQ says
//! cargo run --example oracle -- diff lepus amqp://127.0.0.1:5672 [FILTER]   compare with what was recorded
//! cargo run --example oracle -- play amqp://127.0.0.1:5672 [FILTER]     print transcripts
//! cargo run --example oracle -- setup amqp://127.0.0.1:5674             load setup.json, as `record` does
//! cargo run --example oracle -- check                                   look over the records, no broker
//! ```
//!
//! `setup` and `record` need the management API, at the AMQP port + 10000.

#[path = "../tests/oracle/mod.rs"]
mod oracle;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use base64::Engine;

use oracle::compare::{Broker, Expectations, agrees, difference};
use oracle::{Report, directory, run_all, scenarios, verify};

/// The management API listens this far above the AMQP port.
const HTTP_OFFSET: u16 = 10_000;
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["record", name, uri] => record(broker(name)?, address(uri)?),
        ["diff", name, uri, rest @ ..] => diff(broker(name)?, address(uri)?, filter(rest)),
        ["play", uri, rest @ ..] => play(address(uri)?, filter(rest)),
        ["setup", uri] => load_setup(address(uri)?),
        ["check"] => check(),
        _ => {
            bail!("usage: oracle record VERSION URI | diff BROKER URI [FILTER] | play URI [FILTER] | setup URI | check")
        }
    }
}

/// Plays everything twice, so that what is not stable is found before it is written down.
fn record(broker: Broker, address: SocketAddr) -> Result<()> {
    load_setup(address)?;
    let scenarios = scenarios("").map_err(Error::msg)?;
    let first = finished(run_all(address, &scenarios))?;
    let second = finished(run_all(address, &scenarios))?;
    for (name, transcript) in &first {
        if second.get(name) != Some(transcript) {
            let again = second.get(name).map_or("", String::as_str);
            bail!("{name} is not stable:\n{}", difference(transcript, again));
        }
    }
    let expectations = Expectations::load(directory()).map_err(Error::msg)?;
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    let mut count = 0;
    for scenario in &scenarios {
        let transcript = first.get(&scenario.name).context("every scenario was played")?;
        let standard = expectations.expected(Broker::Standard, &scenario.name);
        if broker == Broker::Older && standard.is_some_and(|standard| agrees(standard, transcript)) {
            continue;
        }
        let (area, name) = scenario.name.split_once('/').context("names are area/name")?;
        files.entry(area).or_default().push_str(&format!("== {name}\n{transcript}\n"));
        count += 1;
    }
    let target = directory().join("recorded").join(broker.name());
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    for (area, text) in &files {
        fs::write(target.join(format!("{area}.txt")), text)?;
    }
    println!("{count} of {} transcripts written for {}", first.len(), broker.name());
    Ok(())
}

fn diff(broker: Broker, address: SocketAddr, filter: &str) -> Result<()> {
    let started = Instant::now();
    let agreed = verify(address, broker, filter).map_err(Error::msg)?;
    println!("{agreed} scenarios as {} in {:.1?}", broker.name(), started.elapsed());
    Ok(())
}

fn play(address: SocketAddr, filter: &str) -> Result<()> {
    for (name, outcome) in run_all(address, &scenarios(filter).map_err(Error::msg)?) {
        match outcome {
            Ok(transcript) => println!("== {name}\n{transcript}"),
            Err(error) => println!("== {name}\nBROKEN: {error}\n"),
        }
    }
    Ok(())
}

fn check() -> Result<()> {
    let scenarios = scenarios("").map_err(Error::msg)?;
    let mut areas: BTreeMap<&str, usize> = BTreeMap::new();
    for scenario in &scenarios {
        *areas.entry(scenario.name.split('/').next().unwrap_or_default()).or_default() += 1;
    }
    for (area, count) in &areas {
        println!("{count:4} {area}");
    }
    println!("{:4} in all", scenarios.len());
    let problems = Expectations::load(directory()).map_err(Error::msg)?.problems(&scenarios);
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n")) }
}

fn broker(name: &str) -> Result<Broker> {
    let brokers = [Broker::Standard, Broker::Older, Broker::Lepus];
    let found = brokers.into_iter().find(|broker| broker.name() == name);
    found.with_context(|| format!("{name} is none of 4.3, 3.10, lepus"))
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
