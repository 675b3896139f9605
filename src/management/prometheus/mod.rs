//! Metrics for Prometheus: RabbitMQ's `/metrics`, `/metrics/per-object` and `/metrics/detailed`, without a login.
//!
//! A scrape gathers first, as listings of the API do, and writes then, on a thread where nothing else waits; one scrape
//! runs at a time. Nothing is kept between scrapes.

mod broker_wide;
mod families;
mod snapshot;
mod text;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::families::{CHANNELS, CONNECTIONS, Family, QUEUE_CONSUMER_COUNT, QUEUE_METRICS, QUEUES};
use self::snapshot::Snapshot;
use self::text::{Kind, Labels, Page};
use super::Management;
use super::call::Query;
use super::http;
use super::reply::Refused;
use crate::broker::Counters;

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

async fn respond(request: Request<Incoming>, management: &Management) -> Response<Full<Bytes>> {
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
    let text = if is_head { Some(Vec::new()) } else { scraped(scrape, management).await };
    match text {
        Some(text) => allowing(http::with_body(StatusCode::OK, CONTENT_TYPE, text)),
        None => http::refusal(&Refused::unavailable()),
    }
}

fn allowing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    http::allow(&mut response, "GET");
    response
}

/// `None` only while the server ends.
async fn scraped(scrape: Scrape, management: &Management) -> Option<Vec<u8>> {
    let _turn = management.0.scrape.acquire().await.ok()?;
    let snapshot = Snapshot::take(&scrape, management).await;
    let management = management.clone();
    // Awaited here, so it is nobody's but this request's.
    tokio::task::spawn_blocking(move || written(&scrape, &snapshot, &management)).await.ok()
}

fn written(scrape: &Scrape, snapshot: &Snapshot, management: &Management) -> Vec<u8> {
    let is_detailed = matches!(scrape, Scrape::Detailed(_));
    let mut page = Page::new(if is_detailed { "rabbitmq_detailed_" } else { "rabbitmq_" });
    broker_wide::identity(&mut page, scrape, management);
    broker_wide::node(&mut page, scrape, snapshot, management);
    broker_wide::logins(&mut page, scrape, management);
    broker_wide::exchanges(&mut page, scrape, snapshot);
    queues(&mut page, scrape, snapshot);
    channels(&mut page, scrape, snapshot);
    connections(&mut page, scrape, snapshot);
    if !is_detailed {
        broker_wide::objects(&mut page, snapshot);
        broker_wide::global(&mut page, snapshot);
        broker_wide::alarms(&mut page, snapshot, management);
    }
    page.into_text()
}

/// Writes families: their sums, or of each object.
fn tell<'a, T: 'a>(
    page: &mut Page,
    scrape: &Scrape,
    families: &[Family<T>],
    objects: impl Iterator<Item = (&'a Labels, &'a T)> + Clone,
    is_told: impl Fn(&Family<T>, &T) -> bool,
) {
    for family in families.iter().filter(|family| scrape.wants(family.group)) {
        page.family(family.name, family.kind, family.help);
        if *scrape == Scrape::Aggregated {
            let sum = objects.clone().map(|(_, object)| (family.value)(object)).sum();
            page.sample(&Labels::default(), sum);
            continue;
        }
        for (labels, object) in objects.clone().filter(|(_, object)| is_told(family, object)) {
            page.sample(labels, (family.value)(object));
        }
    }
}

fn queues(page: &mut Page, scrape: &Scrape, snapshot: &Snapshot) {
    let objects = snapshot.queues.iter().map(|queue| (&queue.labels, &queue.report));
    // As in RabbitMQ, of a queue where nothing ever happened there is nothing to tell of that.
    let untouched = Counters::default();
    tell(page, scrape, QUEUES, objects, |family, queue| {
        family.kind == Kind::Gauge || family.name.ends_with("reductions_total") || queue.counters != untouched
    });
    let with_info = ["queue_coarse_metrics", QUEUE_CONSUMER_COUNT];
    if *scrape != Scrape::Aggregated && with_info.iter().any(|group| scrape.wants(group)) {
        page.family("queue_info", Kind::Gauge, "What a queue is");
        for queue in &snapshot.queues {
            page.sample(&queue.info(), 1.0);
        }
    }
}

fn channels(page: &mut Page, scrape: &Scrape, snapshot: &Snapshot) {
    let objects = snapshot.channels.iter().map(|(labels, channel)| (labels, channel));
    tell(page, scrape, CHANNELS, objects, |_, _| true);
}

fn connections(page: &mut Page, scrape: &Scrape, snapshot: &Snapshot) {
    let objects = snapshot.connections.iter().map(|(labels, connection)| (labels, connection));
    tell(page, scrape, CONNECTIONS, objects, |_, _| true);
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
