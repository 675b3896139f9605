//! A server that takes publishes and throws them away: what `lepus perf` itself can do, with no broker behind it.
//!
//! ```text
//! cargo run --release --example sink -- 127.0.0.1:5999 &
//! lepus perf -h amqp://127.0.0.1:5999 -y 0 -s 16 -z 5
//! ```
//!
//! Requests are answered as a broker would, as long as nothing is published; from then on the connection's bytes are
//! read, counted and dropped. A line at its end says how many there were: divide by the length of one publish.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::Context;
use lepus::wire::{Frame, FrameKind, Method, Publish, RawTable, cut};

const PROTOCOL_HEADER_LEN: usize = 8;
const READ_BYTES: usize = 256 * 1024;
const FRAME_MAX: u32 = 131_072;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: sink HOST:PORT")?;
    let listener = TcpListener::bind(&address).with_context(|| format!("listen on {address}"))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || match serve(stream) {
            Ok(0) => {}
            Ok(bytes) => println!("{bytes} bytes of publishes"),
            Err(error) => println!("{error:#}"),
        });
    }
    Ok(())
}

/// Serves a connection to its end; gives how many bytes of publishes came.
fn serve(mut stream: TcpStream) -> anyhow::Result<u64> {
    stream.set_nodelay(true)?;
    let mut header = [0; PROTOCOL_HEADER_LEN];
    stream.read_exact(&mut header)?;
    let empty = RawTable::default();
    let (version_major, version_minor, mechanisms, locales) = (0, 9, &b"PLAIN"[..], &b"en_US"[..]);
    let start = Method::ConnectionStart { version_major, version_minor, server_properties: empty, mechanisms, locales };
    answer(&mut stream, 0, &start)?;
    let (mut buffer, mut filled) = (vec![0; READ_BYTES], 0);
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(0);
        }
        filled += read;
        let mut done = 0;
        while let Some((frame, taken)) = cut(&buffer[done..filled], FRAME_MAX)? {
            if frame.payload.starts_with(&Publish::IDS) {
                return discard(&mut stream, buffer, filled - done);
            }
            control(&mut stream, frame)?;
            done += taken;
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
    }
}

/// Reads to the end, from a connection of which `bytes` are read already.
fn discard(stream: &mut TcpStream, mut buffer: Vec<u8>, bytes: usize) -> anyhow::Result<u64> {
    let mut total = bytes as u64;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => total += read as u64,
            // It does not wait for what was on the way.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(total),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers a request as if all were well.
fn control(stream: &mut TcpStream, frame: Frame<'_>) -> anyhow::Result<()> {
    if frame.kind != FrameKind::Method {
        return Ok(());
    }
    let ok = match Method::decode(frame.payload)? {
        Method::ConnectionStartOk { .. } => {
            Method::ConnectionTune { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 }
        }
        Method::ConnectionOpen { .. } => Method::ConnectionOpenOk {},
        Method::ConnectionClose { .. } => Method::ConnectionCloseOk {},
        Method::ChannelOpen {} => Method::ChannelOpenOk {},
        Method::ExchangeDeclare { .. } => Method::ExchangeDeclareOk {},
        Method::QueueDeclare { queue, .. } => Method::QueueDeclareOk { queue, message_count: 0, consumer_count: 0 },
        Method::QueueBind { .. } => Method::QueueBindOk {},
        Method::QueueDelete { .. } => Method::QueueDeleteOk { message_count: 0 },
        _ => return Ok(()),
    };
    answer(stream, frame.channel, &ok)
}

fn answer(stream: &mut TcpStream, channel: u16, method: &Method<'_>) -> anyhow::Result<()> {
    let mut out = Vec::new();
    method.encode_frame(channel, &mut out);
    Ok(stream.write_all(&out)?)
}
