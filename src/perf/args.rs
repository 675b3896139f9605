//! The command line. Flags are PerfTest's; those of several letters behind one dash are rewritten to long ones first.

use clap::Args as ClapArgs;
use clap::{Subcommand, ValueEnum};

/// What a churn run opens and closes for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Churn {
    /// Connect, open a channel, close.
    Connections,
    /// Open and close channels on one connection.
    Channels,
    /// Declare and delete queues.
    Queues,
    /// Bind one queue by one key after another; the bindings stay until the end.
    Binds,
    /// Bind and unbind one queue: two requests a round.
    BindsAndUnbinds,
}

/// Loads of another kind.
#[derive(Clone, Debug, Subcommand)]
pub enum Mode {
    /// Remote procedure calls: requests, and replies to them
    Rpc(RpcArgs),
}

/// Flags of `lepus perf rpc`.
#[derive(Clone, Debug, ClapArgs)]
#[command(disable_help_flag = true)]
pub struct RpcArgs {
    /// Broker to load
    #[arg(short = 'h', long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    pub uri: String,
    /// Requesters, each with a connection
    #[arg(short = 'x', long, default_value_t = 1)]
    pub requesters: usize,
    /// Responders, each with a connection
    #[arg(short = 'y', long, default_value_t = 1)]
    pub responders: usize,
    /// Calls under way at once, for each requester
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
    /// Replies go to a queue of the requester's instead of by direct reply-to
    #[arg(long)]
    pub reply_queue: bool,
    /// Body size of requests, and so of replies, in bytes
    #[arg(short = 's', long, default_value_t = 12)]
    pub size: usize,
    /// Queue of the requests
    #[arg(short = 'u', long, default_value = "perf-rpc")]
    pub queue: String,
    /// Seconds to run [default: 10, unless -C is given]
    #[arg(short = 'z', long)]
    pub time: Option<f64>,
    /// Calls of each requester
    #[arg(short = 'C', long)]
    pub calls: Option<u64>,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    pub json: bool,
    /// Measure CPU of this process
    #[arg(long)]
    pub broker_pid: Option<u32>,
    /// Print help
    #[arg(short = '?', long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// Flags of `lepus perf`.
#[derive(Clone, Debug, ClapArgs)]
#[command(disable_help_flag = true, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Instead of messages one way
    #[command(subcommand)]
    pub mode: Option<Mode>,
    /// Broker to load; in TLS with amqps://, whatever its certificate
    #[arg(short = 'h', long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    pub uri: String,
    /// Producers
    #[arg(short = 'x', long, default_value_t = 1)]
    pub producers: usize,
    /// Consumers
    #[arg(short = 'y', long, default_value_t = 1)]
    pub consumers: usize,
    /// Channels per producer connection [-X]
    #[arg(short = 'X', long, default_value_t = 1)]
    pub producer_channel_count: u16,
    /// Channels per consumer connection [-Y]
    #[arg(short = 'Y', long, default_value_t = 1)]
    pub consumer_channel_count: u16,
    /// Body size in bytes, or a list: 16,1024 in turn, 16:70,1024:30 by weight
    #[arg(short = 's', long, default_value = "12")]
    pub size: String,
    /// Queue
    #[arg(short = 'u', long, default_value = "perf")]
    pub queue: String,
    /// Many queues: a name with %d in it [-qp]
    #[arg(long)]
    pub queue_pattern: Option<String>,
    /// First number of the pattern [-qpf]
    #[arg(long, default_value_t = 1)]
    pub queue_pattern_from: u32,
    /// Last number of the pattern [-qpt]
    #[arg(long, default_value_t = 1)]
    pub queue_pattern_to: u32,
    /// Every producer publishes to all queues of the pattern in turn, and consumers share them out
    #[arg(long)]
    pub spread: bool,
    /// Other queues that nobody uses, declared before the run
    #[arg(long, default_value_t = 0)]
    pub ballast_queues: u32,
    /// Other bindings of the exchange, by key and by the header `number`, that no message of the run meets
    #[arg(long, default_value_t = 0)]
    pub ballast_bindings: u32,
    /// Other connections, each with a channel, that are idle during the run
    #[arg(long, default_value_t = 0)]
    pub ballast_connections: u32,
    /// Exchange; the default one if absent
    #[arg(short = 'e', long, default_value = "")]
    pub exchange: String,
    /// Exchange type
    #[arg(short = 't', long = "type", default_value = "direct")]
    pub kind: String,
    /// Routing key; the queue's name if absent
    #[arg(short = 'k', long)]
    pub routing_key: Option<String>,
    /// Messages a second for each producer
    #[arg(short = 'r', long)]
    pub rate: Option<f64>,
    /// Messages a second for each consumer
    #[arg(short = 'R', long)]
    pub consumer_rate: Option<f64>,
    /// Publisher confirms, so many in flight
    #[arg(short = 'c', long)]
    pub confirm: Option<usize>,
    /// Consume with no-ack
    #[arg(short = 'a', long)]
    pub autoack: bool,
    /// Ack every so many messages
    #[arg(short = 'A', long, default_value_t = 1)]
    pub multi_ack_every: u32,
    /// Prefetch for each consumer; 0 is without limit
    #[arg(short = 'q', long, default_value_t = 0)]
    pub qos: u16,
    /// Prefetch for each channel
    #[arg(short = 'Q', long, default_value_t = 0)]
    pub global_qos: u16,
    /// persistent, mandatory (repeatable)
    #[arg(short = 'f', long = "flag")]
    pub flags: Vec<String>,
    /// Seconds to run
    #[arg(short = 'z', long)]
    pub time: Option<f64>,
    /// Messages for each producer
    #[arg(short = 'C', long)]
    pub pmessages: Option<u64>,
    /// Messages for each consumer
    #[arg(short = 'D', long)]
    pub cmessages: Option<u64>,
    /// Queues and exchange exist already: declare nothing
    #[arg(short = 'p', long)]
    pub predeclared: bool,
    /// Auto-delete queues; =false keeps them [-ad]
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub auto_delete: bool,
    /// Queue arguments: k=v,... [-qa]
    #[arg(long, default_value = "")]
    pub queue_args: String,
    /// Message properties: priority=5,contentType=...,k=v (others are headers) [-mp]
    #[arg(long, default_value = "")]
    pub message_properties: String,
    /// Seconds between progress lines
    #[arg(short = 'i', long, default_value_t = 1.0)]
    pub interval: f64,
    /// Heartbeat in seconds
    #[arg(short = 'b', long, default_value_t = 0)]
    pub heartbeat: u16,
    /// Check order, loss and duplicates of each producer's messages (bodies of 16 bytes and more)
    #[arg(long)]
    pub check: bool,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    pub json: bool,
    /// Measure CPU and memory of this process
    #[arg(long)]
    pub broker_pid: Option<u32>,
    /// Open and close something instead of sending messages; -x is the concurrency, -C or -z bounds it
    #[arg(long)]
    pub churn: Option<Churn>,
    /// Print help
    #[arg(short = '?', long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// PerfTest's flags of several letters behind one dash, as long flags.
const LETTERS: [(&str, &str); 6] = [
    ("-ad", "--auto-delete"),
    ("-qa", "--queue-args"),
    ("-qp", "--queue-pattern"),
    ("-qpf", "--queue-pattern-from"),
    ("-qpt", "--queue-pattern-to"),
    ("-mp", "--message-properties"),
];

/// Rewrites PerfTest's multi-letter short flags, which no parser of today's conventions takes.
pub fn translate(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let rewrite = |argument: String| {
        let long = LETTERS.iter().find(|(short, _)| *short == argument).map(|(_, long)| (*long).to_owned());
        long.unwrap_or(argument)
    };
    arguments.into_iter().map(rewrite).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Args {
        let words = std::iter::once("perf").chain(line.split_whitespace()).map(str::to_owned);
        Command::try_parse_from(translate(words)).map_err(|error| error.to_string()).unwrap().args
    }

    #[test]
    fn flags_are_perftests() {
        let args =
            parse("-h amqp://h -x 2 -y 3 -s 1024 -u q -c 100 -a -A 10 -q 50 -f persistent -f mandatory -z 5 -ad false");
        assert_eq!((args.uri.as_str(), args.producers, args.consumers), ("amqp://h", 2, 3));
        assert_eq!((args.confirm, args.autoack, args.multi_ack_every, args.qos), (Some(100), true, 10, 50));
        assert_eq!(args.flags, ["persistent", "mandatory"]);
        assert!(!args.auto_delete);
        assert!(args.mode.is_none());
        let args = parse("-qp q-%d -qpf 1 -qpt 8 -qa x-max-length=10");
        assert_eq!((args.queue_pattern.as_deref(), args.queue_pattern_to), (Some("q-%d"), 8));
    }

    #[test]
    fn calls_are_a_mode_of_their_own() {
        let Some(Mode::Rpc(rpc)) = parse("rpc -h amqp://h --in-flight 64 --reply-queue -C 5").mode else {
            panic!("rpc is a mode");
        };
        assert_eq!((rpc.uri.as_str(), rpc.in_flight, rpc.reply_queue, rpc.calls), ("amqp://h", 64, true, Some(5)));
    }
}
