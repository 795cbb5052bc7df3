//! What remote control is told of the worker as a whole.

use serde_json::{Value, json};

use crate::worker::Shared;

/// `inspect stats`.
pub(crate) fn stats(shared: &Shared) -> Value {
    let pids: Vec<u32> = shared
        .engine
        .models()
        .iter()
        .flat_map(|model| model.pool.instances.iter().filter_map(|instance| instance.pid))
        .collect();
    let (shown, more) = shared.parked.counts();
    json!({
        "total": shared.counts_by_task(),
        "pid": std::process::id(),
        "clock": shared.events.clock().to_string(),
        "uptime": shared.began.elapsed().as_secs(),
        "pool": {
            "implementation": "cresset",
            "max-concurrency": pids.len(),
            "processes": pids,
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": false,
            "timeouts": [0, 0],
        },
        "broker": shared.transport.describe(),
        "prefetch_count": shared.catalog.prefetch(),
        // Of the tasks that the broker keeps until later: those that `inspect scheduled` shows, and those that it has no room for.
        "scheduled_at_broker": {"shown": shown, "more": more},
        "rusage": {},
    })
}

/// `inspect conf`: the settings under Celery's names.
pub(crate) fn conf(shared: &Shared) -> Value {
    let settings = &shared.options.settings;
    let shown = |url: &Option<cresset_config::ServiceUrl>| url.as_ref().map(ToString::to_string);
    json!({
        "broker_url": shown(&settings.broker),
        "result_backend": shown(&settings.result_backend),
        "result_expires": settings.result_expires.as_secs(),
        "result_extended": settings.result_extended,
        "task_track_started": settings.track_started,
        "task_default_queue": settings.default_queue,
        "task_acks_late": true,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json", "msgpack"],
        "worker_send_task_events": settings.events,
        "worker_deduplicate_successful_tasks": true,
        "timezone": "UTC",
    })
}

/// `inspect report`.
pub(crate) fn report(shared: &Shared) -> String {
    let settings = &shared.options.settings;
    format!(
        "software -> cresset:{}\nplatform -> system:Linux\nsettings -> transport:{} results:{}\n",
        env!("CARGO_PKG_VERSION"),
        settings.broker.as_ref().map_or("none", |url| url.scheme()),
        settings
            .result_backend
            .as_ref()
            .map_or("none", |url| url.scheme()),
    )
}

/// `inspect active_queues`.
pub(crate) fn queues(shared: &Shared) -> Value {
    let queue = |name: &String| {
        json!({
            "name": name,
            "exchange": {"name": name, "type": "direct", "arguments": null, "durable": true, "passive": false,
                "auto_delete": false, "delivery_mode": null, "no_declare": false},
            "routing_key": name,
            "queue_arguments": null,
            "binding_arguments": null,
            "consumer_arguments": null,
            "durable": true,
            "exclusive": false,
            "auto_delete": false,
            "no_ack": false,
            "alias": null,
            "bindings": [],
            "no_declare": null,
            "expires": null,
            "message_ttl": null,
            "max_length": null,
            "max_length_bytes": null,
            "max_priority": null,
        })
    };
    shared.options.settings.queues.iter().map(queue).collect()
}
