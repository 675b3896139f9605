//! Unit tests of what needs no socket.

use serde_json::{Value as Json, json};

use super::call::{Query, decoded};
use super::list;
use super::reply::Reply;
use super::routes;

fn shaped(values: &Json, query: &str) -> Result<Json, String> {
    let values = values.as_array().cloned().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    match runtime.block_on(list::shape(values, &Query::parse(query))) {
        Ok(Reply::Written(answer)) => serde_json::from_slice(&answer).map_err(|error| error.to_string()),
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
fn pages_end_where_the_list_does() {
    let values: Json = (0..1001).map(|n| json!({"name": format!("q{n:04}")})).collect();
    let page = |query: &str| {
        let page = shaped(&values, query).unwrap();
        let first = page["items"][0]["name"].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| page[name].as_u64().unwrap_or_default();
        (first, number("item_count"), number("page_count"), number("filtered_count"), number("total_count"))
    };
    assert_eq!(page("page=1"), ("q0000".to_owned(), 100, 11, 1001, 1001));
    assert_eq!(page("page=11"), ("q1000".to_owned(), 1, 11, 1001, 1001));
    assert_eq!(page("page=2&page_size=500"), ("q0500".to_owned(), 500, 3, 1001, 1001));
    assert_eq!(page("page=3&page_size=500"), ("q1000".to_owned(), 1, 3, 1001, 1001));
    assert_eq!(page("page=1001&page_size=1"), ("q1000".to_owned(), 1, 1001, 1001, 1001));
    assert_eq!(page("page=1&name=Q00"), ("q0000".to_owned(), 100, 1, 100, 1001));
    assert_eq!(page("page=2&page_size=6&name=q000[0-9]$&use_regex=true"), ("q0006".to_owned(), 4, 2, 10, 1001));
    assert_eq!(page("page=1&name=none"), (String::new(), 0, 0, 0, 1001));
    assert_eq!(page("page=1&name=(&use_regex=true"), (String::new(), 0, 0, 0, 1001));
    assert_eq!(page("page=1&page_size=2&sort=name&sort_reverse=true"), ("q1000".to_owned(), 2, 501, 1001, 1001));
    assert_eq!(shaped(&json!([]), "page=1").unwrap()["items"], json!([]));
    for query in ["page=12", "page=4&page_size=500", "page=2&name=none", "page=9223372036854775807"] {
        assert!(shaped(&values, query).is_err(), "{query}");
    }
    // Without a page there is no page, whatever else is said of one.
    assert_eq!(shaped(&values, "page_size=5&name=none").unwrap().as_array().map(Vec::len), Some(1001));
}

#[test]
fn every_kind_of_column_sorts() {
    let values = json!([
        {"name": "text", "v": "b"},
        {"name": "list", "v": [1]},
        {"name": "object", "v": {"a": 1}},
        {"name": "yes", "v": true},
        {"name": "ten", "v": 10},
        {"name": "no", "v": false},
        {"name": "half", "v": 0.5},
        {"name": "Text", "v": "B"},
        {"name": "none"},
        {"name": "minus", "v": -3},
    ]);
    let order = |query: &str| -> String {
        let sorted = shaped(&values, query).unwrap();
        let names = sorted.as_array().into_iter().flatten().filter_map(|value| value["name"].as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order("sort=v"), "none minus half ten no yes object list Text text");
    assert_eq!(order("sort=v&sort_reverse=true"), "text Text list object yes no ten half minus none");
    assert_eq!(order("sort=nothing"), order(""), "what is equal stays as it is");
    assert_eq!(order("sort=v.a").split(' ').next_back(), Some("object"), "what is inside sorts, too");
}

#[test]
fn columns_reach_into_objects_and_lists() {
    let values = json!([{
        "name": "q",
        "a.b": 1,
        "stats": {"publish": 5, "publish_details": {"rate": 0.5, "samples": [{"sample": 5, "timestamp": 1}]}},
        "consumers": [{"tag": "x", "queue": {"name": "q", "vhost": "/"}}, {"tag": "y"}],
    }]);
    let reduced = |columns: &str| shaped(&values, &format!("columns={columns}")).unwrap()[0].clone();
    assert_eq!(reduced("stats.publish_details.rate"), json!({"stats": {"publish_details": {"rate": 0.5}}}));
    assert_eq!(
        reduced("name,stats.publish,stats.publish_details.rate"),
        json!({"name": "q", "stats": {"publish": 5, "publish_details": {"rate": 0.5}}})
    );
    assert_eq!(reduced("consumers.tag"), json!({"consumers": [{"tag": "x"}, {"tag": "y"}]}));
    assert_eq!(reduced("consumers.queue.name"), json!({"consumers": [{"queue": {"name": "q"}}, {}]}));
    assert_eq!(reduced("a.b"), json!({"a.b": 1}));
    assert_eq!(reduced("name,,nothing,stats.nothing"), json!({"name": "q", "stats": {}}));
    assert_eq!(reduced("stats,stats.publish")["stats"]["publish_details"]["rate"], 0.5);
}

#[test]
fn every_path_has_its_methods() {
    assert_eq!(routes::methods(&["queues", "/", "q"]), Some("GET PUT DELETE"));
    assert_eq!(routes::methods(&["bindings", "/", "e", "x", "q", "q"]), Some("GET POST"));
    assert_eq!(routes::methods(&["nosuch"]), None);
    assert_eq!(routes::methods(&[]), None);
}
