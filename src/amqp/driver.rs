//! A session on a socket: the only file here that knows tokio.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::outbound::{Outbound, PIECES_MAX};
use super::session::{Ended, Session};
use super::{Options, Peer};
use crate::broker::{Broker, Event};

/// One read takes at most this much.
const READ_BYTES_MAX: usize = 256 * 1024;
/// A connection lets others run after this many reads in a row.
const READS_A_POLL: usize = 4;

thread_local! {
    /// Where sockets are read into. It belongs to the thread and not to the connection, so that an idle connection
    /// has no read buffer; what is left of a frame is kept by the connection.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Serves a connection to its end. `handshake` is dropped as soon as the connection is open, or over: whoever bounds
/// the handshakes hands in what stands for one.
pub async fn serve<S, H>(stream: S, peer: Peer, broker: Broker, options: Arc<Options>, handshake: H) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let session = Session::new(broker, options, peer, Instant::now());
    let mut driver = Driver {
        stream,
        session,
        out: Outbound::default(),
        remainder: Vec::new(),
        events: Vec::new(),
        timer: None,
        sent: false,
        flush_needed: false,
    };
    let mut handshake = Some(handshake);
    let ended = poll_fn(|cx| {
        let polled = driver.poll(cx);
        if handshake.is_some() && driver.session.client().is_some() {
            handshake = None;
        }
        polled
    })
    .await;
    drop(handshake);
    // What the session said last is on its way; the peer sees the end behind it.
    let _ = poll_fn(|cx| Pin::new(&mut driver.stream).poll_shutdown(cx)).await;
    ended
}

/// Events it waits for: the socket is readable or writable, the mailbox has something, the timer rings.
struct Driver<S> {
    stream: S,
    session: Session,
    out: Outbound,
    /// The beginning of a frame whose end has not come.
    remainder: Vec<u8>,
    events: Vec<Event>,
    /// Set for the session's next timeout, or earlier.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Something was written since the session last asked.
    sent: bool,
    /// The stream may hold back what was written (TLS does).
    flush_needed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut reads = 0;
        loop {
            let now = Instant::now();
            let mut moved = false;
            if self.session.ended().is_none() && !self.out.is_full() {
                moved |= self.poll_events(cx, now);
            }
            if self.session.wants_input() && !self.out.is_full() && !self.is_congested() {
                match self.poll_read(cx, now) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ended::Disconnected),
                    Poll::Ready(Ok(_)) => {
                        reads += 1;
                        moved = true;
                    }
                    Poll::Pending => {}
                }
            }
            self.poll_timer(cx, now);
            let was_full = self.out.is_full();
            if self.poll_write(cx).is_err() {
                return Poll::Ready(Ended::Disconnected);
            }
            // What was held back for want of room has room now, and nobody else would wake us for it.
            moved |= was_full && !self.out.is_full();
            if let Some(ended) = self.session.ended()
                && self.out.is_empty()
            {
                return Poll::Ready(ended.clone());
            }
            if !moved {
                break;
            }
            if reads == READS_A_POLL {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.out.is_empty() {
            self.out.release_memory();
        }
        Poll::Pending
    }

    fn is_congested(&mut self) -> bool {
        self.session.client().is_some_and(|client| client.is_congested())
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(client) = self.session.client() else {
            return false;
        };
        if client.poll_events(cx, &mut self.events).is_pending() {
            return false;
        }
        for event in self.events.drain(..) {
            self.session.event(now, event, &mut self.out);
        }
        self.session.flush(&mut self.out);
        // Frames that waited behind an answer may have been followed by others.
        self.handle_remainder(now);
        true
    }

    fn handle_remainder(&mut self, now: Instant) {
        if self.remainder.is_empty() || !self.session.wants_input() {
            return;
        }
        let input = std::mem::take(&mut self.remainder);
        let done = self.session.receive(now, &input, &mut self.out);
        self.remainder = input;
        self.remainder.drain(..done);
        self.session.flush(&mut self.out);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_BYTES_MAX, 0);
            // A frame that has begun goes first, so that frames are always in one piece.
            let kept = self.remainder.len().min(READ_BYTES_MAX / 2);
            if self.remainder.len() > kept {
                return self.poll_read_large(cx, now, scratch);
            }
            scratch[..kept].copy_from_slice(&self.remainder);
            let mut buffer = ReadBuf::new(&mut scratch[kept..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            let input = &scratch[..kept + read];
            let done = self.session.receive(now, input, &mut self.out);
            self.remainder.clear();
            self.remainder.extend_from_slice(&input[done..]);
            if self.remainder.is_empty() && self.remainder.capacity() > 0 {
                self.remainder = Vec::new();
            }
            self.session.flush(&mut self.out);
            Poll::Ready(Ok(read))
        })
    }

    /// A frame too large for the scratch buffer, or input that the session would not take yet.
    fn poll_read_large(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.remainder.extend_from_slice(buffer.filled());
        if read > 0 {
            self.handle_remainder(now);
        }
        Poll::Ready(Ok(read))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(next) = self.session.next_timeout() {
            if next <= now {
                let sent = std::mem::take(&mut self.sent);
                self.session.timeout(now, sent, &mut self.out);
                if self.session.ended().is_some() {
                    return;
                }
                continue;
            }
            // A timer that rings early is set anew then, so activity costs nothing.
            match &mut self.timer {
                Some((at, _)) if *at <= next => {}
                timer => *timer = Some((next, Box::pin(tokio::time::sleep_until(next.into())))),
            }
            let Some((_, sleep)) = &mut self.timer else {
                return;
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer = None;
            if next > Instant::now() {
                continue;
            }
            cx.waker().wake_by_ref();
            return;
        }
        self.timer = None;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let filled = self.out.slices(&mut slices);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled]) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    self.sent = true;
                    self.flush_needed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        if self.flush_needed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.flush_needed = false;
            return flushed;
        }
        Ok(())
    }
}
