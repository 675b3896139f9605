//! Metrics for Prometheus: RabbitMQ's `/metrics`, `/metrics/per-object` and `/metrics/detailed`, without a login.
//!
//! A scrape gathers first, as listings of the API do, one scrape at a time, and is written then, a part whenever the
//! client has taken the one before. Nothing is kept between scrapes.

mod broker_wide;
mod families;
mod snapshot;
mod text;

use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::families::{CHANNELS, CONNECTIONS, Family, LOGIN_SOURCES, QUEUE_CONSUMER_COUNT, QUEUE_METRICS, QUEUES};
use self::snapshot::{Queue, Snapshot};
use self::text::{Kind, Labels, Page};
use super::Management;
use super::body::{Body, PART_BYTES};
use super::call::Query;
use super::http;
use super::reply::Refused;
use crate::broker::{Counters, QueueReport};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Scrape {
    /// Sums over all objects.
    Aggregated,
    /// All of each object.
    PerObject,
    /// Some families of each object.
    Detailed(Chosen),
}

/// Of `/metrics/detailed`; an empty list of vhosts or queues leaves nothing out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Chosen {
    families: Vec<String>,
    vhosts: Vec<String>,
    queues: Vec<String>,
}

impl Scrape {
    /// What a path below `prometheus.path` stands for.
    fn of_path(below: &str, query: &Query, is_per_object: bool) -> Option<Self> {
        let all = |name| query.all(name).into_iter().map(str::to_owned).collect();
        match below {
            "" | "/" if is_per_object => Some(Self::PerObject),
            "" | "/" => Some(Self::Aggregated),
            "/per-object" => Some(Self::PerObject),
            "/detailed" => {
                let (families, vhosts, queues) = (all("family"), all("vhost"), all("queue"));
                Some(Self::Detailed(Chosen { families, vhosts, queues }))
            }
            _ => None,
        }
    }

    fn wants(&self, group: &str) -> bool {
        match self {
            Self::Detailed(chosen) => {
                let is_named = |name| chosen.families.iter().any(|family| family == name);
                // The number of consumers is in two groups.
                is_named(group) || group == QUEUE_CONSUMER_COUNT && is_named(QUEUE_METRICS)
            }
            _ => true,
        }
    }

    fn wants_vhost(&self, vhost: &str) -> bool {
        match self {
            Self::Detailed(chosen) => chosen.vhosts.is_empty() || chosen.vhosts.iter().any(|own| own == vhost),
            _ => true,
        }
    }

    fn wants_queue(&self, name: &str) -> bool {
        match self {
            Self::Detailed(chosen) => chosen.queues.is_empty() || chosen.queues.iter().any(|own| own == name),
            _ => true,
        }
    }

    /// `rabbitmq_endpoint` of `rabbitmq_identity_info`.
    fn endpoint(&self) -> &'static str {
        match self {
            Self::Aggregated => "aggregated",
            Self::PerObject => "per-object",
            Self::Detailed(_) => "detailed",
        }
    }
}

/// Serves one connection to its end, or until `stop` turns true.
pub async fn serve<S>(stream: S, management: Management, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = |request| {
        let management = management.clone();
        async move { respond(request, &management).await }
    };
    http::speak(stream, stop, answer).await;
}

async fn respond(request: Request<Incoming>, management: &Management) -> Response<Body> {
    let options = management.options();
    let below = request.uri().path().strip_prefix(options.metrics_path.trim_end_matches('/'));
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let scrape = below.and_then(|below| Scrape::of_path(below, &query, options.metrics_per_object));
    let Some(scrape) = scrape else { return http::refusal(&Refused::no_object()) };
    let is_head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        Method::OPTIONS => return allowing(http::empty(StatusCode::OK)),
        _ => return allowing(http::empty(StatusCode::METHOD_NOT_ALLOWED)),
    };
    let body = if is_head { Some(Body::default()) } else { scraped(scrape, management).await };
    match body {
        Some(body) => allowing(http::with_body(StatusCode::OK, CONTENT_TYPE, body)),
        None => http::refusal(&Refused::unavailable()),
    }
}

fn allowing(mut response: Response<Body>) -> Response<Body> {
    http::allow(&mut response, "GET");
    response
}

/// `None` only while the server ends.
async fn scraped(scrape: Scrape, management: &Management) -> Option<Body> {
    let snapshot = {
        let _turn = management.0.scrape.acquire().await.ok()?;
        Snapshot::take(&scrape, management).await
    };
    let mut writing = Writing::new(scrape, snapshot, management.clone());
    Some(Body::of_parts(move || writing.part()))
}

/// A scrape that is being written.
struct Writing {
    scrape: Scrape,
    snapshot: Snapshot,
    management: Management,
    page: Page,
    at: At,
}

/// What comes next.
#[derive(Clone, Copy)]
enum At {
    Head,
    LoginSources(Place),
    Queues(Place),
    Info(usize),
    Channels(Place),
    Connections(Place),
    Tail,
    End,
}

/// Among the families of a kind: which one, and of which object.
#[derive(Clone, Copy, Default)]
struct Place {
    family: usize,
    object: usize,
}

/// Objects that are told of between two looks at how long the part is.
const OBJECTS_A_STEP: usize = 128;

impl Writing {
    fn new(scrape: Scrape, snapshot: Snapshot, management: Management) -> Self {
        let is_detailed = matches!(scrape, Scrape::Detailed(_));
        let page = Page::new(if is_detailed { "rabbitmq_detailed_" } else { "rabbitmq_" });
        Self { scrape, snapshot, management, page, at: At::Head }
    }

    fn part(&mut self) -> Option<Bytes> {
        self.page.reserve(PART_BYTES + PART_BYTES / 2);
        while self.page.len() < PART_BYTES && !matches!(self.at, At::End) {
            self.at = self.step();
        }
        Some(Bytes::from(self.page.take_text())).filter(|part| !part.is_empty())
    }

    /// Writes some more, and says what comes then.
    fn step(&mut self) -> At {
        let Self { scrape, snapshot, management, page, at } = self;
        match *at {
            At::Head => {
                broker_wide::identity(page, scrape, management);
                broker_wide::node(page, scrape, snapshot, management);
                broker_wide::logins(page, scrape, management);
                broker_wide::exchanges(page, scrape, snapshot);
                // As in RabbitMQ there is no sum of them: that is what all logins are.
                let is_aggregated = *scrape == Scrape::Aggregated;
                if is_aggregated { At::Queues(Place::default()) } else { At::LoginSources(Place::default()) }
            }
            At::LoginSources(place) => {
                let next = tell(page, scrape, LOGIN_SOURCES, &snapshot.login_sources, of_pair, |_, _| true, place);
                next.map_or(At::Queues(Place::default()), At::LoginSources)
            }
            At::Queues(place) => {
                // As in RabbitMQ, of a queue where nothing ever happened there is nothing to tell of that.
                let untouched = Counters::default();
                let is_told = |family: &Family<QueueReport>, queue: &QueueReport| {
                    family.kind == Kind::Gauge
                        || family.name.ends_with("reductions_total")
                        || queue.counters != untouched
                };
                tell(page, scrape, QUEUES, &snapshot.queues, of_queue, is_told, place).map_or(At::Info(0), At::Queues)
            }
            At::Info(from) => queue_info(page, scrape, snapshot, from),
            At::Channels(place) => {
                let next = tell(page, scrape, CHANNELS, &snapshot.channels, of_pair, |_, _| true, place);
                next.map_or(At::Connections(Place::default()), At::Channels)
            }
            At::Connections(place) => {
                let next = tell(page, scrape, CONNECTIONS, &snapshot.connections, of_pair, |_, _| true, place);
                next.map_or(At::Tail, At::Connections)
            }
            At::Tail => {
                if !matches!(scrape, Scrape::Detailed(_)) {
                    broker_wide::objects(page, snapshot);
                    broker_wide::global(page, snapshot);
                    broker_wide::alarms(page, snapshot, management);
                }
                At::End
            }
            At::End => At::End,
        }
    }
}

fn of_queue(queue: &Queue) -> (&Labels, &QueueReport) {
    (&queue.labels, &queue.report)
}

fn of_pair<T>((labels, object): &(Labels, T)) -> (&Labels, &T) {
    (labels, object)
}

/// Writes of families, from some place on: their sums, or of each object. Gives the next place, if there is one.
fn tell<O, T>(
    page: &mut Page,
    scrape: &Scrape,
    families: &[Family<T>],
    objects: &[O],
    split: impl Fn(&O) -> (&Labels, &T),
    is_told: impl Fn(&Family<T>, &T) -> bool,
    Place { family: number, object: from }: Place,
) -> Option<Place> {
    let family = families.get(number)?;
    let next_family = Some(Place { family: number + 1, object: 0 });
    if !scrape.wants(family.group) {
        return next_family;
    }
    if from == 0 {
        page.family(family.name, family.kind, family.help);
    }
    if *scrape == Scrape::Aggregated {
        page.sample(&Labels::default(), objects.iter().map(|object| (family.value)(split(object).1)).sum());
        return next_family;
    }
    for (labels, object) in objects.iter().skip(from).take(OBJECTS_A_STEP).map(&split) {
        if is_told(family, object) {
            page.sample(labels, (family.value)(object));
        }
    }
    let object = from + OBJECTS_A_STEP;
    if object < objects.len() { Some(Place { family: number, object }) } else { next_family }
}

fn queue_info(page: &mut Page, scrape: &Scrape, snapshot: &Snapshot, from: usize) -> At {
    let with_info = ["queue_coarse_metrics", QUEUE_CONSUMER_COUNT];
    let next = At::Channels(Place::default());
    if *scrape == Scrape::Aggregated || !with_info.iter().any(|group| scrape.wants(group)) {
        return next;
    }
    if from == 0 {
        page.family("queue_info", Kind::Gauge, "What a queue is");
    }
    for queue in snapshot.queues.iter().skip(from).take(OBJECTS_A_STEP) {
        page.sample(&queue.info(), 1.0);
    }
    let from = from + OBJECTS_A_STEP;
    if from < snapshot.queues.len() { At::Info(from) } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_scrapes() {
        let query = Query::parse("family=queue_metrics&vhost=%2F&family=vhost_status");
        let of = |below, is_per_object| Scrape::of_path(below, &query, is_per_object);
        assert_eq!((of("", false), of("/", true)), (Some(Scrape::Aggregated), Some(Scrape::PerObject)));
        assert_eq!(
            (of("/per-object", false), of("/nosuch", false), of("x", false)),
            (Some(Scrape::PerObject), None, None)
        );
        let detailed = of("/detailed", false).unwrap();
        assert!(detailed.wants("queue_metrics") && detailed.wants("vhost_status") && !detailed.wants("node_metrics"));
        assert!(detailed.wants_vhost("/") && !detailed.wants_vhost("other") && detailed.wants_queue("any"));
    }
}
