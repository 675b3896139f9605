//! A session on a socket: the only file here that knows tokio.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::heartbeat::Traffic;
use super::outbound::{HUGE_BODY_A_WRITE, Outbound, PIECES_MAX};
use super::session::{Ended, Session};
use super::{Options, Peer};
use crate::broker::{Broker, Event};

/// One read takes at most this much.
const READ_BYTES_MAX: usize = 256 * 1024;
/// What is read although nobody wants it yet, so that heartbeats and the end of the stream are noticed.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// A connection lets others run after this many turns.
const TURNS_A_POLL: usize = 4;
/// The buffer that frames are written into is kept for the next connection up to this size.
const WRITE_BUFFER_KEPT: usize = 1024 * 1024;
/// How long the last words may take to be sent.
const LINGER: Duration = Duration::from_secs(3);

thread_local! {
    /// Where sockets are read into. It belongs to the thread and not to the connection, so that an idle connection
    /// has no read buffer; what is left of a frame is kept by the connection.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Where frames are written into, for the same reason; what the socket does not take is kept by the connection.
    static WRITE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream of bytes to and from a client.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Makes the close that comes next an abortive one, if the transport knows such a thing: the peer sees a reset.
    fn abort(&mut self) {}
}

impl Transport for TcpStream {
    fn abort(&mut self) {
        // Nothing is lost if it fails: the peer sees an orderly end.
        let _ = socket2::SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }
}

/// Serves a connection to its end. `handshake` is dropped as soon as the connection is open, or over: whoever bounds
/// the handshakes hands in what stands for one. `open` is dropped when it is closed, though the client may still keep
/// the socket for a while.
pub async fn serve<S, H, O>(
    stream: S,
    peer: Peer,
    broker: Broker,
    options: Arc<Options>,
    handshake: H,
    open: O,
) -> Ended
where
    S: Transport,
{
    let mut driver = Driver::new(stream, Session::new(broker, options, peer, Instant::now()));
    let (mut handshake, mut open) = (Some(handshake), Some(open));
    let ended = poll_fn(|cx| {
        let polled = driver.poll(cx);
        if driver.session.has_opened() {
            handshake = None;
        }
        if driver.session.is_closed() && driver.out.is_empty() && open.take().is_some() {
            driver.session.tell_end(&Ended::ClosedByClient);
        }
        polled
    })
    .await;
    if open.take().is_some() {
        driver.session.tell_end(&ended);
    }
    drop(handshake);
    if ended.is_abrupt() {
        driver.stream.abort();
    } else {
        // What the session said last is on its way; the peer sees the end behind it.
        let shutdown = poll_fn(|cx| Pin::new(&mut driver.stream).poll_shutdown(cx));
        let _ = tokio::time::timeout(LINGER, shutdown).await;
    }
    ended
}

/// Events it waits for: the socket is readable or writable, the mailbox has something, the timer rings.
struct Driver<S> {
    stream: S,
    session: Session,
    out: Outbound,
    /// What was read and not handled: the beginning of a frame whose end has not come, or what nobody wants yet.
    remainder: Vec<u8>,
    /// There may be whole frames in it.
    is_held: bool,
    events: Vec<Event>,
    /// Set for the session's next timeout, or earlier.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    traffic: Traffic,
    /// The stream may hold back what was written (TLS does).
    flush_needed: bool,
    /// The session is over; its last words must be sent by then.
    linger_until: Option<Instant>,
}

impl<S: Transport> Driver<S> {
    fn new(stream: S, session: Session) -> Self {
        Self {
            stream,
            session,
            out: Outbound::default(),
            remainder: Vec::new(),
            is_held: false,
            events: Vec::new(),
            timer: None,
            traffic: Traffic::default(),
            flush_needed: false,
            linger_until: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        WRITE_BUFFER.with_borrow_mut(|buffer| {
            self.out.lend(buffer);
            let polled = self.poll_turns(cx);
            self.out.give_back(buffer);
            if buffer.capacity() > WRITE_BUFFER_KEPT {
                *buffer = Vec::new();
            }
            polled
        })
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        for _ in 0..TURNS_A_POLL {
            let now = Instant::now();
            // Whatever is left out because there is no room for its answers must be polled once there is, or nobody
            // wakes this task for it.
            let mut moved = false;
            let was_full = self.out.is_full();
            if !was_full {
                moved |= self.poll_events(cx, now);
                moved |= self.session.poll_backends(cx, now, &mut self.out);
            }
            match self.poll_input(cx, now) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(_)) => return Poll::Ready(self.disconnected()),
                Poll::Pending => {}
            }
            self.poll_timer(cx, now);
            match self.poll_write(cx) {
                Ok(stopped) => moved |= stopped,
                Err(_) => return Poll::Ready(self.disconnected()),
            }
            moved |= was_full && !self.out.is_full();
            match self.poll_ended(now) {
                Poll::Ready(Some(ended)) => return Poll::Ready(ended),
                Poll::Ready(None) => {}
                Poll::Pending => moved = true,
            }
            if !moved {
                return Poll::Pending;
            }
            if self.session.takes_huge_body() || self.out.has_huge_body() {
                return let_others_run(cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    // --- the end ---

    /// The socket is gone; the session may have ended before.
    fn disconnected(&self) -> Ended {
        self.session.end_of_stream()
    }

    /// The end, once the last words are sent; `None` as long as there is none. Pending: it has come just now.
    fn poll_ended(&mut self, now: Instant) -> Poll<Option<Ended>> {
        let Some(ended) = self.session.ended() else {
            return Poll::Ready(None);
        };
        // Who does not read any more is not waited for.
        if self.out.is_empty() || matches!(ended, Ended::HeartbeatTimeout) {
            return Poll::Ready(Some(ended.clone()));
        }
        match self.linger_until {
            None => {
                self.linger_until = Some(now + LINGER);
                Poll::Pending
            }
            Some(until) => Poll::Ready((until <= now).then(|| ended.clone())),
        }
    }

    // --- what the broker says ---

    fn poll_events(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(client) = self.session.client() else {
            return false;
        };
        if client.poll_events(cx, &mut self.events).is_pending() {
            return false;
        }
        self.session.events(now, &mut self.events, &mut self.out);
        self.session.flush(&mut self.out);
        true
    }

    // --- bytes in ---

    fn poll_input(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        if self.session.ended().is_some() {
            return Poll::Pending;
        }
        if !self.session.wants_input() || self.out.is_full() {
            return self.poll_hold(cx);
        }
        if self.session.client().is_some_and(|client| client.is_congested()) {
            // That is soon over; until then nobody listens, so silence means nothing.
            self.traffic.received = true;
            return Poll::Pending;
        }
        if mem::take(&mut self.is_held) {
            self.handle_remainder(now);
            return Poll::Ready(Ok(()));
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            // What is left of a frame goes first, so that frames are always in one piece.
            let kept = if self.remainder.len() <= READ_BYTES_MAX { self.remainder.len() } else { 0 };
            buffer.resize(buffer.len().max(kept + READ_BYTES_MAX), 0);
            let mut read = ReadBuf::new(&mut buffer[kept..kept + READ_BYTES_MAX]);
            ready!(self.poll_read(cx, &mut read))?;
            if kept < self.remainder.len() {
                // A frame too large to be moved with every read.
                self.remainder.extend_from_slice(read.filled());
                self.handle_remainder(now);
                return Poll::Ready(Ok(()));
            }
            let end = kept + read.filled().len();
            buffer[..kept].copy_from_slice(&self.remainder);
            let done = self.handle(now, &buffer[..end]);
            self.remainder.clear();
            self.remainder.extend_from_slice(&buffer[done..end]);
            if self.remainder.is_empty() {
                self.remainder = Vec::new();
            }
            Poll::Ready(Ok(()))
        })
    }

    fn handle_remainder(&mut self, now: Instant) {
        let mut input = mem::take(&mut self.remainder);
        let done = self.handle(now, &input);
        input.drain(..done);
        if !input.is_empty() {
            self.remainder = input;
        }
    }

    /// Hands input to the session; gives the bytes it is done with.
    fn handle(&mut self, now: Instant, input: &[u8]) -> usize {
        let done = self.session.receive(now, input, &mut self.out);
        self.session.flush(&mut self.out);
        self.is_held = done < input.len() && !self.session.wants_input();
        done
    }

    /// Reads a little although nobody wants it yet.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = HELD_BYTES_MAX.saturating_sub(self.remainder.len());
        if room == 0 {
            // Nobody listens, so silence means nothing.
            self.traffic.received = true;
            return Poll::Pending;
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(buffer.len().max(room), 0);
            let mut read = ReadBuf::new(&mut buffer[..room]);
            ready!(self.poll_read(cx, &mut read))?;
            self.remainder.extend_from_slice(read.filled());
            self.is_held = true;
            Poll::Ready(Ok(()))
        })
    }

    /// The end of the stream is an error here.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.traffic.received = true;
        Poll::Ready(Ok(()))
    }

    // --- time ---

    fn next_timeout(&self) -> Option<Instant> {
        self.linger_until.or_else(|| self.session.next_timeout())
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(next) = self.next_timeout() {
            if next <= now {
                if self.linger_until.is_some() {
                    return;
                }
                self.session.timeout(now, mem::take(&mut self.traffic), &mut self.out);
                // Memory of a burst long ago.
                self.events = Vec::new();
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
            if next <= Instant::now() {
                // Due since this turn began.
                cx.waker().wake_by_ref();
                return;
            }
        }
        self.timer = None;
    }

    // --- bytes out ---

    /// Writes what the socket takes, but of a huge body only a part: then it is true.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut written_of_huge = 0;
        while !self.out.is_empty() {
            let is_huge = self.out.has_huge_body();
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let filled = self.out.slices(&mut slices);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    self.session.sent(&self.out);
                    self.traffic.sent = true;
                    self.flush_needed = true;
                    written_of_huge += if is_huge { written } else { 0 };
                    if written_of_huge >= HUGE_BODY_A_WRITE {
                        return Ok(true);
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
        if self.flush_needed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.flush_needed = false;
            flushed?;
        }
        Ok(false)
    }
}

/// Has the task polled again when others had their turn and the sockets were looked at, which a wake-up would come
/// before.
fn let_others_run(cx: &mut Context<'_>) -> Poll<Ended> {
    if pin!(tokio::task::yield_now()).poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}
