//! The AMQP 0-9-1 codec: frames, methods, properties, field tables. Pure functions over bytes; no sockets, no tasks,
//! and nothing about what a broker does with them. Start reading at [`cut`] and [`Method`]; publishes and deliveries
//! have their own hand-written way past `Method`, at [`Publish`] and [`write_deliver`].

mod content;
mod erlang;
mod frame;
mod method;
mod properties;
mod raw_table;
mod reply_code;
mod table;
#[cfg(test)]
mod tests;

pub use self::content::{
    ContentHeader, Publish, address_parts, body_payload_max, write_ack, write_body_frame_head, write_content,
    write_content_header, write_deliver, write_get_ok, write_heartbeat, write_nack, write_publish, write_return,
};
pub use self::erlang::erlang_binary;
pub use self::frame::{
    FRAME_END, FRAME_OVERHEAD, Frame, FrameError, FrameKind, Octets, cut, cut_expected, write_frame,
};
pub use self::method::{BASIC_CLASS, Method, MethodError};
pub use self::properties::{Properties, PropertiesError};
pub use self::raw_table::{RawTable, RawValue, TABLE_DEPTH_MAX, TableError};
pub use self::reply_code::ReplyCode;
pub use self::table::{Table, Value};
