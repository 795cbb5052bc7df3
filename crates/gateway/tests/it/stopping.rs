//! Stopping: nothing in flight is lost, and nothing holds the server up for ever.

use std::time::Duration;

use cresset_gateway::GatewayOptions;
use tokio::net::TcpStream;

use crate::fixture;
use crate::house::{House, LONG, finish};

#[tokio::test]
async fn requests_in_flight_are_finished_and_idle_connections_closed() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let mut idle = house.caller().await;
    assert_eq!(idle.get("/health/live").await.status, 200);
    let mut fresh = house.caller().await;
    let mut busy = house.caller().await;
    busy.send_post("/v1/models/slow/predict", r#"{"input":1}"#).await;
    let held = pool.next_job().await;

    house.stop.cancel();
    assert!(idle.is_closed().await && fresh.is_closed().await);
    assert!(!house.served.is_finished());
    finish(&pool, &held, "9");
    assert_eq!(busy.answer().await.json()["result"], 9);
    assert!(busy.is_closed().await);
    let address = house.address;
    house.close().await;
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is free again"
    );
}

#[tokio::test]
async fn what_is_not_done_by_the_deadline_is_cut() {
    let house = House::with(GatewayOptions {
        drain_timeout: Duration::from_millis(50),
        ..Default::default()
    })
    .await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let mut busy = house.caller().await;
    busy.send_post("/v1/models/slow/predict", r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    house.stop.cancel();
    assert!(busy.is_closed().await);
    finish(&pool, &held, "9");
    house.close().await;
}

#[tokio::test]
async fn a_door_told_to_stop_before_it_opens_closes_at_once() {
    let house = House::open().await;
    house.stop.cancel();
    house.stop.cancel();
    tokio::time::timeout(LONG, house.close()).await.unwrap();
}
