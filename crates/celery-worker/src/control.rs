//! Remote control: hears requests and answers them, on its own, however busy the models are.

use std::sync::Arc;
use std::time::Duration;

use cresset_celery::{Exception, Head, Message, Meta, Request, Status, reply, repr_str, repr_strs};
use cresset_task::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::held::Stand;
use crate::insist::Waits;
use crate::worker::Shared;
use crate::{care, stats};

/// A connection that lasted so long was a good one: the next try comes soon.
const GOOD: Duration = Duration::from_secs(10);

/// Hears requests, over a new connection when one is lost.
pub(crate) async fn listen(shared: Arc<Shared>, requests: mpsc::Sender<Message>, leave: CancellationToken) {
    let mut waits = Waits::new();
    loop {
        let began = tokio::time::Instant::now();
        tokio::select! {
            heard = shared.transport.listen(&requests, &shared.heard) => match heard {
                Ok(()) => tracing::debug!("connection of remote control ended"),
                Err(error) => tracing::debug!(error = %error, "remote control cannot be heard"),
            },
            () = leave.cancelled() => return,
        }
        if began.elapsed() > GOOD {
            waits = Waits::new();
        }
        tokio::select! {
            () = tokio::time::sleep(waits.next()) => {}
            () = leave.cancelled() => return,
        }
    }
}

/// Answers requests.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<Message>,
    leave: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            message = requests.recv() => message,
            () = leave.cancelled() => return,
        };
        let Some(message) = message else {
            return;
        };
        let node = &shared.options.node;
        let now = Timestamp::now().as_micros() as f64 / 1e6;
        let Some(request) = Request::read(&message, node, now) else {
            continue;
        };
        shared.events.tick(request.clock);
        let value = handle(&shared, &request).await;
        let (Some(value), Some(target)) = (value, &request.target) else {
            continue;
        };
        let message = reply(node, value, &target.ticket, shared.events.tick(0));
        if let Err(error) = shared.transport.reply(target, &message).await {
            tracing::warn!(error = %error, method = crate::job::short(&request.method), "remote control could not be answered");
        }
    }
}

/// What a request is answered; nothing, if it is not to be.
async fn handle(shared: &Arc<Shared>, request: &Request) -> Option<Value> {
    let node = &shared.options.node;
    let held = &shared.held;
    Some(match request.method.as_str() {
        "ping" => json!({"ok": "pong"}),
        "registered" => json!(shared.catalog.names().collect::<Vec<_>>()),
        "active" => held.shown(node, |stand| matches!(stand, Stand::Active(_))).into(),
        "reserved" => held.shown(node, |stand| stand == Stand::Reserved).into(),
        "scheduled" => scheduled(shared).into(),
        "query_task" => query(shared, &request.ids("ids")),
        "stats" => stats::stats(shared),
        "conf" => stats::conf(shared),
        "report" => json!({"ok": stats::report(shared)}),
        "active_queues" => stats::queues(shared),
        "clock" => json!({"clock": shared.events.clock()}),
        "revoked" => json!(shared.revoked.all()),
        "revoke" => revoke(shared, request, request.flag("terminate")).await,
        "terminate" => revoke(shared, request, true).await,
        "enable_events" => switch(shared, true),
        "disable_events" => switch(shared, false),
        "heartbeat" => {
            care::tell(shared, "heartbeat").await;
            Value::Null
        }
        "hello" => hello(shared, request)?,
        "shutdown" => {
            tracing::info!("shutdown was asked for by remote control");
            shared.asked_to_stop.cancel();
            return None;
        }
        "rate_limit"
        | "time_limit"
        | "add_consumer"
        | "cancel_consumer"
        | "pool_grow"
        | "pool_shrink"
        | "pool_restart"
        | "autoscale"
        | "revoke_by_stamped_headers"
        | "memsample"
        | "memdump"
        | "objgraph" => {
            let why = format!(
                "`{}` is not offered by Cresset: limits, queues and processes are set in cresset.toml and model.toml",
                request.method
            );
            json!({"error": why})
        }
        other => json!({"error": format!("KeyError({})", repr_str(other))}),
    })
}

fn switch(shared: &Shared, on: bool) -> Value {
    let word = if on { "enabled" } else { "disabled" };
    let already = if shared.events.switch(on) == on {
        "already "
    } else {
        ""
    };
    json!({"ok": format!("task events {already}{word}")})
}

/// Another worker has started, and asks what was revoked.
fn hello(shared: &Shared, request: &Request) -> Option<Value> {
    let from = request.arguments.get("from_node").and_then(Value::as_str)?;
    if from == shared.options.node {
        return None;
    }
    if let Some(Value::Object(theirs)) = request.arguments.get("revoked") {
        theirs.keys().for_each(|id| shared.revoked.add(id));
    }
    let now = Timestamp::now().as_micros() as f64 / 1e6;
    let ids: Map<_, _> = shared
        .revoked
        .all()
        .into_iter()
        .map(|id| (id, json!(now)))
        .collect();
    Some(json!({"revoked": ids, "clock": shared.events.clock()}))
}

/// What waits for its time, with us or at the broker.
fn scheduled(shared: &Shared) -> Vec<Value> {
    let node = &shared.options.node;
    let mut shown = shared
        .held
        .shown(node, |stand| matches!(stand, Stand::Scheduled(_)));
    shown.extend(shared.parked.shown(node));
    shown
}

fn query(shared: &Shared, ids: &[String]) -> Value {
    let mut found = Map::new();
    let node = &shared.options.node;
    let stands = [
        (
            "active",
            shared.held.shown(node, |stand| matches!(stand, Stand::Active(_))),
        ),
        (
            "reserved",
            shared.held.shown(node, |stand| stand == Stand::Reserved),
        ),
        ("scheduled", scheduled(shared)),
    ];
    for (name, all) in stands {
        for shown in all {
            let request = shown.get("request").unwrap_or(&shown);
            let id = request.get("id").and_then(Value::as_str).unwrap_or_default();
            if ids.iter().any(|wanted| wanted == id) {
                found.insert(id.to_owned(), json!([name, request]));
            }
        }
    }
    Value::Object(found)
}

async fn revoke(shared: &Shared, request: &Request, terminate: bool) -> Value {
    let ids = request.ids("task_id");
    for id in &ids {
        shared.revoked.add(id);
        // It is not to run, and whoever it comes back to will say so.
        shared.parked.forget(id);
    }
    let found = shared.held.revoke(&ids, terminate);
    // All workers hear this: what runs elsewhere, or has ended, is left alone; what waits is told at once. A gateway knows already.
    for id in ids
        .iter()
        .filter(|id| !shared.options.is_fleet && !found.contains(id) && !shared.held.is_active(id))
    {
        if let Err(error) = store_revoked(shared, id).await {
            tracing::warn!(error = %error, "revocation could not be stored");
        }
    }
    if terminate {
        return match found.as_slice() {
            [] => json!({"ok": "terminate: tasks unknown"}),
            found => json!({"ok": format!("terminate: {}", found.join(", "))}),
        };
    }
    let ids = match ids.as_slice() {
        [one] => return json!({"ok": format!("task {one} flagged as revoked")}),
        several => repr_strs(several.iter().map(String::as_str)),
    };
    json!({"ok": format!("tasks {ids} flagged as revoked")})
}

async fn store_revoked(shared: &Shared, id: &str) -> Result<(), crate::transport::Trouble> {
    if shared.results.is_settled(id).await? {
        return Ok(());
    }
    let head = Head {
        id: id.to_owned(),
        ..Head::default()
    };
    let status = Status::Revoked(Exception::revoked("revoked"));
    let meta = Meta {
        head: &head,
        status: &status,
        children: &[],
        done: Some(Timestamp::now()),
        extended: None,
    };
    shared.results.store(&meta).await
}
