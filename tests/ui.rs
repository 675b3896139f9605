//! The management UI: which files are served, how, and that nothing else is.

use std::net::SocketAddr;

use lepus::Server;

use crate::common::builder;
use crate::common::http::{Response, fetch, fetch_with};

async fn start() -> (Server, SocketAddr) {
    let server = builder().http("127.0.0.1:0").start().await.expect("the broker starts");
    let address = server.http_addr().expect("it has the API");
    (server, address)
}

fn header(response: &Response, name: &str) -> String {
    response.header(name).unwrap_or_default()
}

/// FEATURES section 4.2: no login is asked for, and the page may do no more than it needs.
#[tokio::test]
async fn the_ui_is_at_the_root() {
    let (_server, address) = start().await;
    let table = [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/?x=1", "text/html; charset=utf-8"),
        ("/base.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/core/dom.js", "text/javascript; charset=utf-8"),
        ("/pages/queues.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ];
    for (path, kind) in table {
        let response = fetch(address, "GET", path).await;
        assert_eq!((response.status, header(&response, "content-type").as_str()), (200, kind), "{path}");
        assert!(!response.text.is_empty(), "{path}");
        let policy =
            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
        assert_eq!(header(&response, "content-security-policy"), policy, "{path}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(header(&response, name), value, "{path} {name}");
        }
        let head = fetch(address, "HEAD", path).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        for name in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(name), response.header(name), "{path} {name}");
        }
        assert_eq!(header(&head, "content-length"), response.text.len().to_string(), "{path}");
    }
}

/// What a browser has is not sent again.
#[tokio::test]
async fn known_files_are_not_sent_again() {
    let (_server, address) = start().await;
    let first = fetch(address, "GET", "/app.js").await;
    let tag = header(&first, "etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 8, "{tag}");
    assert_ne!(header(&fetch(address, "GET", "/base.css").await, "etag"), tag);
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = fetch_with(address, "GET", "/app.js", &format!("If-None-Match: {known}\r\n")).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{known}");
        assert_eq!(header(&again, "etag"), tag);
    }
    for other in ["\"other\"", &tag[1..tag.len() - 1], ""] {
        let again = fetch_with(address, "GET", "/app.js", &format!("If-None-Match: {other}\r\n")).await;
        assert_eq!((again.status, again.text.len()), (200, first.text.len()), "{other}");
    }
}

/// There is a list of files, and no path leads out of it; the API is beside it.
#[tokio::test]
async fn nothing_else_is_served() {
    let (_server, address) = start().await;
    let absent = [
        "/nosuch.js",
        "/core",
        "/core/",
        "/pages/",
        "//index.html",
        "/./index.html",
        "/../Cargo.toml",
        "/core/../app.js",
        "/%2e%2e/Cargo.toml",
        "/core/%2e%2e/app.js",
        "/..%2fCargo.toml",
        "/ui/index.html",
        "/etc/passwd",
        "/app.js%00",
        "/APP.JS",
        "/apiary",
        "/index.html/",
    ];
    for path in absent {
        let response = fetch(address, "GET", path).await;
        assert_eq!((response.status, response.json["error"].as_str()), (404, Some("Object Not Found")), "{path}");
        assert!(header(&response, "content-security-policy").starts_with("default-src 'self'"), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = fetch(address, method, "/app.js").await;
        assert_eq!((response.status, header(&response, "allow").as_str()), (405, "GET, HEAD"), "{method}");
    }
    let api = fetch(address, "GET", "/api").await;
    assert_eq!((api.status, header(&api, "location").as_str()), (301, "/api/index.html"));
    assert_eq!(fetch(address, "GET", "/api/whoami").await.status, 401);
    assert_eq!(fetch(address, "GET", "/api/app.js").await.status, 404);
}
