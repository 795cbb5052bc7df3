//! Clients told apart, and bounds that name themselves.

use std::time::Duration;

use cresset_config::{Admission, ClientBounds};
use cresset_gateway::{GatewayOptions, Identify};

use crate::fixture;
use crate::house::House;
use crate::wire::{Answer, Caller};

const SUBMIT: &str = "POST /v1/models/echo/tasks";

async fn house(identify: Identify, client: ClientBounds) -> House {
    let admission = Admission {
        client,
        ..Admission::default()
    };
    let options = GatewayOptions {
        identify,
        ..GatewayOptions::default()
    };
    let house = House::admitting(admission, options).await;
    // It never comes up, so what is queued stays queued.
    house.by_hand(fixture::object("echo"));
    house
}

fn header() -> Identify {
    Identify::Header("x-client-id".parse().unwrap())
}

fn queue_of(tasks: u64) -> ClientBounds {
    ClientBounds {
        max_queue: Some(tasks),
        ..ClientBounds::default()
    }
}

async fn submit(house: &House, client: Option<&str>) -> Answer {
    let headers: Vec<_> = client.map(|name| ("x-client-id", name)).into_iter().collect();
    house.caller().await.ask(SUBMIT, &headers, r#"{"input":1}"#).await
}

#[tokio::test]
async fn a_bound_names_itself_its_value_and_the_figure() {
    let house = house(header(), queue_of(1)).await;
    assert_eq!(submit(&house, Some("ada")).await.status, 202);
    let refused = submit(&house, Some("ada")).await;
    assert_eq!((refused.status, refused.code()), (429, "client_limit".into()));
    let problem = refused.problem();
    let bound = serde_json::json!({
        "setting": "clients.max_queue", "unit": "tasks", "limit": 1, "current": 1
    });
    assert_eq!(problem["bound"], bound);
    assert_eq!(
        problem["detail"],
        "one client may have no more: 1 of 1 tasks (`clients.max_queue`)"
    );
    assert!(problem["retry_after"].as_u64().unwrap() >= 1);
    house.close().await;
}

#[tokio::test]
async fn a_header_tells_clients_apart_and_whoever_sends_none_is_an_address() {
    let house = house(header(), queue_of(1)).await;
    for client in [Some("ada"), Some("grace"), None] {
        assert_eq!(submit(&house, client).await.status, 202, "{client:?}");
        assert_eq!(submit(&house, client).await.code(), "client_limit", "{client:?}");
    }
    // What a header says cannot pass for an address, nor the other way round.
    assert_eq!(submit(&house, Some("127.0.0.1")).await.status, 202);
    assert_eq!(submit(&house, Some("two words")).await.code(), "invalid_input");
    let twice = [("x-client-id", "a"), ("x-client-id", "b")];
    let refused = house.caller().await.ask(SUBMIT, &twice, r#"{"input":1}"#).await;
    assert_eq!(
        refused.problem()["detail"],
        "`x-client-id`: is there more than once; send one"
    );
    house.close().await;
}

#[tokio::test]
async fn without_identification_no_bound_of_a_client_holds() {
    let house = house(Identify::Off, queue_of(1)).await;
    for _ in 0..3 {
        assert_eq!(submit(&house, Some("ada")).await.status, 202);
    }
    house.close().await;
}

#[tokio::test]
async fn requests_under_way_are_counted_by_client_and_probes_are_not() {
    let one = ClientBounds {
        max_requests: Some(1),
        ..ClientBounds::default()
    };
    let house = house(Identify::Address, one).await;
    let task = house.submitted("echo", r#"{"input":1}"#).await;
    let mut poll = house.caller().await;
    poll.send(format!("GET {task}?wait=20s HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    let refused = until_refused(&house, &task).await;
    assert_eq!(refused.problem()["bound"]["setting"], "clients.max_requests");
    for free in ["/health/live", "/metrics", "/openapi.json"] {
        assert_eq!(house.get(free).await.status, 200, "{free}");
    }
    let refused = house.post("/v1/models/echo/tasks", &"x".repeat(1 << 20)).await;
    assert_eq!(
        refused.code(),
        "client_limit",
        "a body on its way does not hide the answer"
    );
    drop(poll);
    let freed = async {
        while house.get(&task).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed)
        .await
        .unwrap();
    house.close().await;
}

/// Asks until the long poll that was sent before is under way.
async fn until_refused(house: &House, task: &str) -> Answer {
    let mut caller: Caller = house.caller().await;
    loop {
        let answer = caller.get(task).await;
        if answer.status != 200 {
            return answer;
        }
    }
}
