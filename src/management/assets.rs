//! The management UI: its files are in the binary, and whoever can reach the listener may read them. What they show
//! comes from the API, with a login.

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::body::Body;
use super::http::{empty, refusal};
use super::oauth::OAuth;
use super::reply::Refused;

struct Asset {
    /// Below `/`, and below `ui/` here.
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($kind:ident $path:literal,)*) => {
        &[$(Asset { path: $path, kind: $kind, content: include_bytes!(concat!("ui/", $path)) },)*]
    };
}

/// All there is: nothing is looked up on the disk.
const ASSETS: &[Asset] = assets![
    HTML "index.html",
    SVG "icon.svg",
    CSS "base.css",
    CSS "parts.css",
    CSS "tables.css",
    CSS "forms.css",
    CSS "charts.css",
    SCRIPT "theme.js",
    HTML "js/oidc-oauth/login-callback.html",
    SCRIPT "js/oidc-oauth/login-callback.js",
    SCRIPT "app.js",
    SCRIPT "shell.js",
    SCRIPT "core/api.js",
    SCRIPT "core/chart.js",
    SCRIPT "core/dialog.js",
    SCRIPT "core/dom.js",
    SCRIPT "core/form.js",
    SCRIPT "core/format.js",
    SCRIPT "core/listing.js",
    SCRIPT "core/oauth.js",
    SCRIPT "core/page.js",
    SCRIPT "core/parts.js",
    SCRIPT "core/session.js",
    SCRIPT "pages/bindings.js",
    SCRIPT "pages/channels.js",
    SCRIPT "pages/cluster.js",
    SCRIPT "pages/connections.js",
    SCRIPT "pages/declared.js",
    SCRIPT "pages/definitions.js",
    SCRIPT "pages/exchanges.js",
    SCRIPT "pages/login.js",
    SCRIPT "pages/messages.js",
    SCRIPT "pages/node.js",
    SCRIPT "pages/overview.js",
    SCRIPT "pages/permissions.js",
    SCRIPT "pages/policies.js",
    SCRIPT "pages/queue.js",
    SCRIPT "pages/queues.js",
    SCRIPT "pages/users.js",
    SCRIPT "pages/vhosts.js",
];

/// A page runs what comes from here and nothing else, and stands in no frame.
const CONTENT_SECURITY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Asked for again at each visit, and answered with 304 until a new version of the broker runs.
    (header::CACHE_CONTROL, "no-cache"),
];

/// Answers for a path that is not the API's. A page speaks to nobody else but the provider that logs users in.
pub(super) fn serve(method: &Method, path: &str, request: &HeaderMap, oauth: Option<&OAuth>) -> Response<Body> {
    let mut response = match find(path) {
        Some(asset) if method == Method::GET || method == Method::HEAD => found(asset, method, request),
        Some(_) => {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        None => refusal(&Refused::no_object()),
    };
    let policy = match oauth {
        None => HeaderValue::from_static(CONTENT_SECURITY),
        // An address of the web has no letters that a header cannot hold.
        Some(oauth) => HeaderValue::from_str(&format!("{CONTENT_SECURITY}; connect-src 'self' {}", oauth.origins()))
            .unwrap_or(HeaderValue::from_static(CONTENT_SECURITY)),
    };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `/` is the page.
fn find(path: &str) -> Option<&'static Asset> {
    let path = path.strip_prefix('/')?;
    let path = if path.is_empty() { "index.html" } else { path };
    ASSETS.iter().find(|asset| asset.path == path)
}

fn found(asset: &Asset, method: &Method, request: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{:08x}-{:x}\"", crc32fast::hash(asset.content), asset.content.len());
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags == "*" || tags.split(',').any(|own| is_tag(own, &tag)));
    let mut response = if is_known {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut response = empty(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(asset.content.len()));
        if method == Method::GET {
            *response.body_mut() = Bytes::from_static(asset.content).into();
        }
        response
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// A proxy that compresses marks tags as weak.
fn is_tag(given: &str, tag: &str) -> bool {
    let given = given.trim();
    given.strip_prefix("W/").unwrap_or(given) == tag
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn files(folder: &Path, root: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path, root, into);
            } else {
                let below = path.strip_prefix(root).expect("it is below");
                into.insert(below.display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_ui_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/management/ui");
        let mut there = BTreeSet::new();
        files(&root, &root, &mut there);
        assert_eq!(ASSETS.iter().map(|asset| asset.path.to_owned()).collect::<BTreeSet<_>>(), there);
    }

    /// What the security policy forbids would fail in the browser only, and what reads markup from data is a hole.
    #[test]
    fn no_file_of_the_ui_has_what_the_policy_forbids() {
        let banned =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "http://"];
        for asset in ASSETS {
            let text = str::from_utf8(asset.content).expect("text");
            for word in banned.iter().filter(|word| asset.kind != SVG || **word != "http://") {
                // The one address names a vocabulary, and nobody goes there.
                let text = text.replace("'http://www.w3.org/2000/svg'", "");
                assert!(!text.contains(word), "{}: {word}", asset.path);
            }
            assert!(asset.kind != HTML || !(text.contains(" style=") || text.contains(" on")), "{}", asset.path);
        }
    }
}
