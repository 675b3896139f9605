//! From the arguments of a step to frames.

use super::args::Args;
use super::client::{FRAME_BODY, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, frame};
use super::methods::{Method, properties};
use super::value::{Value, encode_table};

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
    body.chunks(payload_max)
        .flat_map(|piece| frame(FRAME_BODY, channel, piece))
        .collect()
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
