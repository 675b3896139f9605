//! Unit tests of what needs no socket.

use serde_json::{Value as Json, json};

use super::call::{Query, decoded};
use super::list;
use super::reply::Reply;
use super::routes;

fn shaped(values: &Json, query: &str) -> Result<Json, String> {
    let values = values.as_array().cloned().unwrap_or_default();
    match list::shape(values, &Query::parse(query)) {
        Ok(Reply::Shaped(value)) => Ok(value),
        Ok(_) => Err("not JSON".to_owned()),
        Err(refused) => Err(format!("{} {} {}", refused.status.as_u16(), refused.error, refused.reason)),
    }
}

#[test]
fn paths_are_decoded() {
    assert_eq!(decoded("%2F"), "/");
    assert_eq!(decoded("a%20b%c3%bc%zz%"), "a bü%zz%");
    assert_eq!(Query::parse("a=1+2&b&c=%26").get("a"), Some("1 2"));
    assert_eq!(Query::parse("a=1+2&b&c=%26").get("c"), Some("&"));
}

#[test]
fn lists_are_sorted_filtered_and_cut() {
    let values = json!([
        {"name": "b", "n": 2, "o": {"x": 1}},
        {"name": "a", "n": 10, "o": {"x": 3}},
        {"name": "Bc", "n": 1, "o": {"x": 2}},
    ]);
    assert_eq!(shaped(&values, "sort=n&columns=name").unwrap(), json!([{"name": "Bc"}, {"name": "b"}, {"name": "a"}]));
    assert_eq!(
        shaped(&values, "sort=o.x&sort_reverse=true&columns=o.x").unwrap(),
        json!([{"o": {"x": 3}}, {"o": {"x": 2}}, {"o": {"x": 1}}])
    );
    let page = shaped(&values, "page=1&page_size=1&name=b&sort=name").unwrap();
    assert_eq!((&page["total_count"], &page["filtered_count"], &page["page_count"]), (&json!(3), &json!(2), &json!(2)));
    assert_eq!(page["items"][0]["name"], "Bc");
    let page = shaped(&values, "page=1&name=%5Eb&use_regex=true").unwrap();
    assert_eq!((&page["filtered_count"], &page["page_size"]), (&json!(2), &json!(100)));
}

#[test]
fn bad_pages_are_refused_in_rabbitmqs_words() {
    let values = json!([{"name": "a"}]);
    let refused = |query: &str| shaped(&values, query).unwrap_err();
    let invalid = "400 invalid_pagination_parameters \"Invalid pagination parameters: page number";
    assert_eq!(refused("page=0"), format!("{invalid} 0, page size undefined\""));
    assert_eq!(refused("page=1&page_size=501"), format!("{invalid} 1, page size 501\""));
    assert_eq!(
        refused("page=9&page_size=10"),
        "400 page_out_of_range \"Page out of range, page: 9 page size: 10, len: 1\""
    );
    assert_eq!(refused("page=x"), "400 bad_request \"Pagination parameters are invalid\"");
}

#[test]
fn every_path_has_its_methods() {
    assert_eq!(routes::methods(&["queues", "/", "q"]), Some("GET PUT DELETE"));
    assert_eq!(routes::methods(&["bindings", "/", "e", "x", "q", "q"]), Some("GET POST"));
    assert_eq!(routes::methods(&["nosuch"]), None);
    assert_eq!(routes::methods(&[]), None);
}
