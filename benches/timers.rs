//! A million messages that wait for their time: what each costs when it comes, and how late it comes.
//!
//! ```text
//! cargo bench --bench timers            all
//! cargo bench --bench timers -- 100000  with so many messages
//! ```
//!
//! The costs are measured with a clock that jumps from one timer to the next, on one lane without sockets; the
//! lateness with the real clock, the lane as a task, and a consumer.
//!
//! Late is what reaches the consumer behind its delay, counted from the moment the lane took it. The machine's part in
//! that is told apart: how long the lane was ready to run and had no core, as the kernel counts it; and how late it
//! wakes a thread beside it that does nothing but sleep.

use std::fs::File;
use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lepus::auth::{Auth, Secret};
use lepus::broker::{
    Body, Broker, ChannelKey, Client, ConnectionInfo, ConsumeSpec, Event, ExchangeDeclare, Lane, Limiter, Options,
    Publish, QueueDeclare, Reply, Turn,
};
use lepus::wire::{Properties, RawTable, Table, Value};

/// As the program has it: what memory costs is part of what is measured.
#[global_allocator]
static ALLOCATOR: lepus::Allocator = lepus::Allocator;

const CHANNEL: ChannelKey = ChannelKey { number: 1, epoch: 1 };
const REPLY: Reply = Reply { channel: CHANNEL, ticket: 1 };
/// The times of the messages are spread over so many ms, after a second.
const SPREAD_MS: u64 = 60_000;
const QUEUES: u64 = 10_000;

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    cost_of_ttl(count);
    cost_of_delay(count);
    lateness(count);
}

/// What this thread has had of a core, whatever else runs on the machine, and what it waited for one.
struct ThreadTimes(File);

impl ThreadTimes {
    fn new() -> Self {
        Self(File::open("/proc/thread-self/schedstat").expect("Linux counts the time of a thread"))
    }

    fn cpu(&self) -> Duration {
        self.read(0)
    }

    /// Ready to run, while others had the cores.
    fn waited(&self) -> Duration {
        self.read(1)
    }

    fn read(&self, field: usize) -> Duration {
        let mut text = [0; 80];
        let length = self.0.read_at(&mut text, 0).expect("the times of a thread");
        let text = std::str::from_utf8(&text[..length]).expect("digits");
        Duration::from_nanos(text.split(' ').nth(field).and_then(|nanos| nanos.parse().ok()).expect("nanoseconds"))
    }
}

struct World {
    client: Client,
    lane: Lane,
    start: Instant,
}

impl World {
    fn new() -> Self {
        let auth = Auth::new();
        auth.put_user("me", Secret::None, [] as [&str; 0]).expect("a user");
        auth.set_permissions("/", "me", ".*", ".*", ".*").expect("permissions");
        let (broker, mut lanes) = Broker::new(Options { lanes: 1, ..Options::default() }, auth);
        broker.add_vhost("/");
        let user = broker.auth().user("me").expect("the user");
        let client = Client::open(&broker, user, "/", ConnectionInfo::default()).expect("a client");
        Self { client, lane: lanes.remove(0), start: Instant::now() }
    }

    fn queue(&mut self, queue: &str, arguments: Table) {
        let declare =
            QueueDeclare { queue, passive: false, durable: false, exclusive: false, auto_delete: false, arguments };
        self.client.queue_declare(REPLY, declare).expect("a queue");
    }

    /// An exchange, bound to a queue with these arguments.
    fn delayed_exchange(&mut self, arguments: Table) {
        let declare = ExchangeDeclare {
            exchange: "x",
            kind: "x-delayed-message",
            passive: false,
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: Table::from_iter([("x-delayed-type", Value::from("direct"))]),
        };
        self.client.exchange_declare(REPLY, declare).expect("an exchange");
        self.queue("q", arguments);
        self.client.queue_bind(REPLY, "q", "x", "q", Table::default()).expect("a binding");
    }

    fn publish(&mut self, exchange: &str, key: &str, properties: &Properties<'_>, body: &[u8]) {
        let mut raw = Vec::new();
        properties.encode(&mut raw);
        let mut address = Vec::new();
        for part in [exchange, key] {
            address.push(u8::try_from(part.len()).expect("a short name"));
            address.extend(part.as_bytes());
        }
        let publish = Publish {
            channel: CHANNEL,
            address: &address,
            properties: &raw,
            body: Body::Small(body),
            mandatory: false,
            confirm: None,
        };
        self.client.publish(publish).expect("a publish");
    }

    fn publish_delayed(&mut self, delay_ms: u64, body: &[u8]) {
        let mut headers = Vec::new();
        let delay = Value::I64(delay_ms.cast_signed());
        Table::from_iter([("x-delay", delay)]).encode_bare(&mut headers);
        self.publish("x", "q", &Properties { headers: Some(RawTable(&headers)), ..Properties::default() }, body);
    }

    fn consume(&mut self) {
        let spec = ConsumeSpec {
            queue: "q",
            channel: CHANNEL,
            tag: "",
            consumer: 0,
            no_ack: true,
            exclusive: false,
            prefetch: 0,
            limiter: std::sync::Arc::new(Limiter::default()),
            arguments: Table::default(),
        };
        self.client.consume(REPLY, spec).expect("a consumer");
    }

    /// Messages that say when they are due, in us after the start. A lane counts from the time it is told, so that is
    /// what they count from: else how long a thousand take to publish would make those of them late.
    fn publish_for_later(&mut self, count: u64) {
        let mut now = Instant::now();
        // Published in less than ten seconds, or the first would be due before the lane runs.
        for n in 0..count {
            let delay_ms = 10_000 + n.wrapping_mul(7919) % SPREAD_MS;
            let due_us = (now - self.start).as_micros() as u64 + delay_ms * 1000;
            self.publish_delayed(delay_ms, &due_us.to_be_bytes());
            if n % 1000 == 999 {
                self.client.flush();
                self.lane.turn(now);
                now = Instant::now();
            }
        }
        self.client.flush();
        self.lane.turn(now);
    }

    fn hand_over(&mut self) {
        self.client.flush();
        self.lane.turn(self.start);
    }

    /// Jumps from timer to timer until everything that was to come within the spread has come.
    fn run_out(&mut self, what: &str, count: u64) {
        let times = ThreadTimes::new();
        let begin = times.cpu();
        let (mut now, mut turns) = (self.start, 0u64);
        let end = self.start + Duration::from_millis(SPREAD_MS + 2000);
        while let Turn::Idle(Some(next)) = self.lane.turn(now)
            && next <= end
        {
            now = now.max(next);
            turns += 1;
        }
        let each = us_each(times.cpu() - begin, count);
        println!("{what}: {each:.3} us of CPU each, {turns} turns");
    }
}

fn us_each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

fn cost_of_ttl(count: u64) {
    let mut world = World::new();
    for queue in 0..QUEUES {
        world.queue(&format!("q{queue}"), Table::default());
    }
    world.hand_over();
    for n in 0..count {
        // Heads expire in order; neighbours are in different queues, and no two of a queue expire together.
        let expiration = (1000 + n * SPREAD_MS / count).to_string();
        let properties = Properties { expiration: Some(expiration.as_bytes()), ..Properties::default() };
        world.publish("", &format!("q{}", n % QUEUES), &properties, b"sixteen bytes ok");
        if n % 1000 == 999 {
            world.hand_over();
        }
    }
    world.hand_over();
    world.run_out(&format!("{count} messages with a TTL in {QUEUES} queues"), count);
}

fn cost_of_delay(count: u64) {
    let mut world = World::new();
    // It keeps the last thousand: the memory of a backlog is not what is measured.
    world.delayed_exchange(Table::from_iter([("x-max-length", Value::I64(1000))]));
    world.hand_over();
    let times = ThreadTimes::new();
    let begin = times.cpu();
    for n in 0..count {
        world.publish_delayed(1000 + n.wrapping_mul(7919) % SPREAD_MS, b"sixteen bytes ok");
        if n % 1000 == 999 {
            world.hand_over();
        }
    }
    world.hand_over();
    let each = us_each(times.cpu() - begin, count);
    println!("{count} delayed messages: {each:.3} us of CPU each to publish and hold");
    world.run_out(&format!("{count} delayed messages"), count);
}

/// A million messages over a minute are not an idle broker, but nearly.
fn lateness(count: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut world = World::new();
    world.delayed_exchange(Table::default());
    world.hand_over();
    world.consume();
    world.publish_for_later(count);
    let World { client, lane, start } = world;
    let times = ThreadTimes::new();
    let begin = times.cpu();
    let sleeper = Sleeper::start();
    let seen = runtime.block_on(async {
        tokio::select! {
            seen = read(client, start, count as usize, &times) => seen,
            () = lane.run() => unreachable!("the broker is not stopped"),
        }
    });
    let each = us_each(times.cpu() - begin, count);
    println!(
        "{count} delayed messages as they come: {each:.3} us of CPU each, with {} wake-ups and the reader",
        seen.wakeups
    );
    let late = Spread::of(seen.late_us);
    println!("{count} delayed messages: {} early; late by {late}", seen.early);
    println!(
        "  without the waits for a core: {}; longest wait {:.2} ms",
        Spread::of(seen.own_us),
        seen.longest_wait_ms
    );
    println!("  a thread that only sleeps wakes late by {}", Spread::of(sleeper.stop()));
}

/// Sleeps a millisecond again and again: what is late there is late because of the machine.
struct Sleeper {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Sleeper {
    fn start() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = std::thread::spawn(move || {
            const PAUSE: Duration = Duration::from_millis(1);
            let mut late_us = Vec::with_capacity(2 * SPREAD_MS as usize);
            while !seen.load(Ordering::Relaxed) {
                let begin = Instant::now();
                std::thread::sleep(PAUSE);
                late_us.push((begin.elapsed() - PAUSE).as_micros() as u64);
            }
            late_us
        });
        Self { ends, thread }
    }

    /// How late it woke each time, in µs.
    fn stop(self) -> Vec<u64> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}

/// What a consumer gets.
struct Seen {
    early: u64,
    /// How late each message was.
    late_us: Vec<u64>,
    /// The same without what the thread waited for a core since it last ran, which is at most one pause of the lane.
    own_us: Vec<u64>,
    longest_wait_ms: f64,
    wakeups: u64,
}

async fn read(mut client: Client, start: Instant, count: usize, times: &ThreadTimes) -> Seen {
    // Memory is touched before the first comes: growing would hold up the reader, who is to hold up nothing.
    let (mut late_us, mut own_us) = (vec![u64::MAX; count], vec![u64::MAX; count]);
    let (mut early, mut events, mut read_count, mut wakeups) = (0, Vec::new(), 0, 0);
    let (mut waited, mut longest_wait) = (times.waited(), Duration::ZERO);
    while read_count < count {
        poll_fn(|cx| client.poll_events(cx, &mut events)).await;
        let now_us = start.elapsed().as_micros() as u64;
        let wait = times.waited() - waited;
        waited += wait;
        longest_wait = longest_wait.max(wait);
        wakeups += 1;
        for event in events.drain(..) {
            let Event::Deliver(delivery) = event else { continue };
            let due_us = u64::from_be_bytes(delivery.message.body().try_into().expect("a time"));
            early += u64::from(now_us < due_us);
            late_us[read_count] = now_us.saturating_sub(due_us);
            own_us[read_count] = late_us[read_count].saturating_sub(wait.as_micros() as u64);
            read_count += 1;
        }
    }
    Seen { early, late_us, own_us, longest_wait_ms: longest_wait.as_secs_f64() * 1e3, wakeups }
}

/// Times in ms.
struct Spread {
    median: f64,
    most: f64,
    worst: f64,
}

impl Spread {
    fn of(mut times_us: Vec<u64>) -> Self {
        times_us.sort_unstable();
        let at = |share: f64| times_us[((times_us.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        Self { median: at(0.5), most: at(0.999), worst: at(1.0) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, most, worst } = self;
        write!(f, "{median:.2} ms, 99.9 % {most:.2} ms, worst {worst:.2} ms")
    }
}
