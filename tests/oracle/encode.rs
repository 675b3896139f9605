//! From the arguments of a step to frames.

use super::args::Args;
use super::client::{FRAME_BODY, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, frame};
use super::methods::{Method, properties};
use super::value::{Value, encode_entries, encode_table};

/// Who logs in unless told: may do everything in every vhost of `setup.json`.
const USER: &str = "oracle";

/// What official clients announce.
const CAPABILITIES: [&str; 5] = [
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "publisher_confirms",
];

/// The class of every method that carries content.
const CLASS_BASIC: u16 = 60;

/// A method frame. Fields that are not given are zero, empty or false.
pub(crate) fn method_frame(channel: u16, method: &Method, args: &Args) -> Result<Vec<u8>, String> {
    let mut payload = method.class.to_be_bytes().to_vec();
    payload.extend(method.id.to_be_bytes());
    let mut bits: Option<(u8, u8)> = None;
    for (name, kind) in method.fields() {
        if kind == 'b' {
            let (octet, used) = match bits {
                Some((octet, used)) if used < 8 => (octet, used),
                Some((octet, _)) => {
                    payload.push(octet);
                    (0, 0)
                }
                None => (0, 0),
            };
            let bit = u8::from(args.number(name)?.unwrap_or(0) != 0);
            bits = Some((octet | bit << used, used + 1));
        } else {
            payload.extend(bits.take().map(|(octet, _)| octet));
            encode_field(name, kind, args, &mut payload)?;
        }
    }
    payload.extend(bits.map(|(octet, _)| octet));
    Ok(frame(FRAME_METHOD, channel, &payload))
}

/// A content header frame: `class`, `weight` and `size` as given, or those of `body`.
pub(crate) fn header_frame(channel: u16, args: &Args, body: &[u8]) -> Result<Vec<u8>, String> {
    let class = args.number("class")?.unwrap_or(u64::from(CLASS_BASIC)) as u16;
    let weight = args.number("weight")?.unwrap_or(0) as u16;
    let size = args.number("size")?.unwrap_or(body.len() as u64);
    let mut flags = 0_u16;
    let mut values = Vec::new();
    for (index, (name, kind)) in properties().enumerate() {
        if args.value(name).is_some() {
            flags |= 1 << (15 - index);
            encode_field(name, kind, args, &mut values)?;
        }
    }
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend(weight.to_be_bytes());
    payload.extend(size.to_be_bytes());
    payload.extend(flags.to_be_bytes());
    payload.extend(values);
    Ok(frame(FRAME_HEADER, channel, &payload))
}

/// As many body frames as `frame_max` asks for; none for an empty body.
pub(crate) fn body_frames(channel: u16, body: &[u8], frame_max: usize) -> Vec<u8> {
    let payload_max = frame_max.saturating_sub(FRAME_OVERHEAD).max(1);
    body.chunks(payload_max).flat_map(|piece| frame(FRAME_BODY, channel, piece)).collect()
}

/// The start-ok of `connect`: by default PLAIN with the capabilities that official clients announce.
pub(crate) fn start_ok(args: &Args) -> Vec<u8> {
    let user = args.text("user", USER).as_bytes();
    let password = args.bytes("password").unwrap_or(user);
    let mechanism = args.text("mechanism", "PLAIN");
    let response = match (args.bytes("response"), mechanism) {
        (Some(response), _) => response.to_vec(),
        (None, "AMQPLAIN") => encode_entries(&[
            (b"LOGIN".to_vec(), Value::Str(user.to_vec())),
            (b"PASSWORD".to_vec(), Value::Str(password.to_vec())),
        ]),
        (None, _) => [b"\0", user, b"\0", password].concat(),
    };
    let capabilities = args.value("capabilities").cloned().unwrap_or_else(|| {
        let announced = CAPABILITIES.map(|name| (name.as_bytes().to_vec(), Value::Bool(true)));
        Value::Table(announced.into())
    });
    let mut properties = match args.value("client_properties") {
        Some(Value::Table(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    properties.push((b"capabilities".to_vec(), capabilities));
    let start_ok = Args::of([
        ("client_properties", Value::Table(properties)),
        ("mechanism", Value::Str(mechanism.into())),
        ("response", Value::Str(response)),
        ("locale", Value::Str("en_US".into())),
    ]);
    let method = Method::named("connection.start-ok").expect("the table has it");
    method_frame(0, method, &start_ok).expect("all fields are of their kind")
}

/// `frame type=1 payload=0x.. size=4 end=206`: size and end octet as they should be, unless given.
pub(crate) fn raw_frame(channel: u16, args: &Args) -> Result<Vec<u8>, String> {
    args.only(&["type", "payload", "size", "end"])?;
    let kind = args.number("type")?.ok_or("frame of which type?")?;
    let payload = args.bytes("payload").unwrap_or_default();
    let mut bytes = frame(kind as u8, channel, payload);
    if let Some(size) = args.number("size")? {
        bytes[3..7].copy_from_slice(&(size as u32).to_be_bytes());
    }
    if let Some(end) = args.number("end")? {
        bytes.pop();
        bytes.push(end as u8);
    }
    Ok(bytes)
}

/// Names of the properties a header may be given, for checking arguments.
pub(crate) fn property_names() -> Vec<&'static str> {
    properties().map(|(name, _)| name).collect()
}

fn encode_field(name: &str, kind: char, args: &Args, out: &mut Vec<u8>) -> Result<(), String> {
    let number = || args.number(name).map(|number| number.unwrap_or(0));
    let bytes = args.bytes(name).unwrap_or_default();
    match kind {
        'o' => out.push(number()? as u8),
        'w' => out.extend((number()? as u16).to_be_bytes()),
        'l' => out.extend((number()? as u32).to_be_bytes()),
        'q' => out.extend(number()?.to_be_bytes()),
        's' => {
            let length = u8::try_from(bytes.len()).map_err(|_| format!("{name} is too long"))?;
            out.push(length);
            out.extend(bytes);
        }
        'S' => {
            out.extend((bytes.len() as u32).to_be_bytes());
            out.extend(bytes);
        }
        _ => match args.value(name) {
            Some(Value::Table(entries)) => encode_table(entries, out),
            Some(_) => return Err(format!("{name} is not a table")),
            None => encode_table(&[], out),
        },
    }
    Ok(())
}
