//! The table itself; see [`super`]. In the order of the default file.

use std::time::Duration;

use super::forms::{setting, words};
use super::{
    DAY, Setting, set_client_header, set_client_key, set_durability, set_log_format, set_log_level,
    set_webhooks_allow, show_webhooks_allow,
};
use super::{auth, celery, entrances, store};
use crate::field::Field;
use crate::server::ClientIdentity;

/// Timers are not finer, and no line is faster.
const SHORTEST: Duration = Duration::from_millis(1);

/// Most tasks that a queue can be said to hold, and most of their bytes.
const TASKS_MAX: u64 = 1_000_000_000;
const BYTES_MAX: u64 = 1 << 50;

const UNBOUNDED: &str = "not bounded";
const AS_THE_MODELS: &str = "not bounded: what the models allow together";

/// Every setting, in the order of the default file.
pub const SETTINGS: &[Setting] = &[
    entrances::LISTEN,
    entrances::ADMIN_LISTEN,
    entrances::SOCKET_MODE,
    entrances::TLS_CERT,
    entrances::TLS_KEY,
    entrances::HSTS,
    entrances::TRUSTED_PROXIES,
    entrances::CORS_ORIGINS,
    setting(
        "server.models",
        ["CRESSET_MODELS", "models"],
        path!(models),
        "A model folder, or a folder of them. On the command line it is the argument of `cresset serve`.",
    ),
    setting(
        "server.data_dir",
        ["CRESSET_DATA_DIR", "data-dir"],
        path!(data_dir),
        "Where tasks and results are kept.",
    ),
    words(
        setting(
            "server.cache_dir",
            ["CRESSET_CACHE_DIR", "cache-dir"],
            path!(cache_dir),
            "Where the environments of models are built. It can be deleted at any time while no server runs.",
        ),
        "`$XDG_CACHE_HOME/cresset`, or `~/.cache/cresset`",
        r#""/var/cache/cresset""#,
    ),
    setting(
        "server.max_connections",
        ["CRESSET_MAX_CONNECTIONS", "max-connections"],
        int!(max_connections, 1, 1_000_000),
        "Open connections at most; more are answered with 503 and closed.",
    ),
    words(
        setting(
            "server.max_connections_per_address",
            [
                "CRESSET_MAX_CONNECTIONS_PER_ADDRESS",
                "max-connections-per-address",
            ],
            maybe_int!(max_connections_per_address, 1, 1_000_000),
            "Open connections of one address at most, IPv6 by its network of 64 bits; more are answered with 429 and closed. \
             Behind a proxy all have its address.",
        ),
        UNBOUNDED,
        "256",
    ),
    setting(
        "server.idle_timeout",
        ["CRESSET_IDLE_TIMEOUT", "idle-timeout"],
        duration!(idle_timeout, SHORTEST, DAY),
        "A connection on which nothing is asked for so long is closed. Longer than proxies keep theirs (nginx: 60 s), so \
         that they are the ones who close.",
    ),
    setting(
        "server.head_timeout",
        ["CRESSET_HEAD_TIMEOUT", "head-timeout"],
        duration!(head_timeout, SHORTEST, DAY),
        "The head of a request (line and headers) must be there so long after its first byte, else it is answered with 408 \
         and the connection closed.",
    ),
    setting(
        "server.body_timeout",
        ["CRESSET_BODY_TIMEOUT", "body-timeout"],
        duration!(body_timeout, SHORTEST, DAY),
        "In each such span in which the server waits for a body, it must move on by `server.min_rate`, or end; else 408.",
    ),
    setting(
        "server.write_timeout",
        ["CRESSET_WRITE_TIMEOUT", "write-timeout"],
        duration!(write_timeout, SHORTEST, DAY),
        "In each such span in which an answer waits for its reader, it must move on by `server.min_rate`, else the connection \
         is reset.",
    ),
    setting(
        "server.min_rate",
        ["CRESSET_MIN_RATE", "min-rate"],
        bytes!(min_rate, 0, 1 << 30),
        "Bytes a second that a body or an answer must move on by at least; see the two settings above. With 0 a single byte \
         will do.",
    ),
    setting(
        "server.drain_timeout",
        ["CRESSET_DRAIN_TIMEOUT", "drain-timeout"],
        duration!(drain_timeout, Duration::ZERO, DAY),
        "How long a stop waits for batches in flight. What is not done by then goes back to the queue.",
    ),
    setting(
        "server.compress_above",
        ["CRESSET_COMPRESS_ABOVE", "compress-above"],
        bytes!(compress_above, 256, 1 << 30),
        "Answers of so many bytes and more that are text (JSON, figures, documents) are packed in zstd or gzip for callers who \
         ask for that with `Accept-Encoding`. It takes the processor's time: on a machine whose cores are all the models', \
         `1GiB` packs nothing.",
    ),
    setting(
        "limits.max_body_bytes",
        ["CRESSET_MAX_BODY_BYTES", "max-body-bytes"],
        bytes!(max_body_bytes, 1 << 10, 1 << 30),
        "The largest request body; a larger one is refused with 413. Of a body in gzip or zstd, what is in it counts.",
    ),
    setting(
        "limits.max_inflight_body_bytes",
        ["CRESSET_MAX_INFLIGHT_BODY_BYTES", "max-inflight-body-bytes"],
        bytes!(max_inflight_body_bytes, 1 << 10, BYTES_MAX),
        "Bytes of all request bodies in memory at once, being read or worked on; more are refused with 503. Never less than \
         `limits.max_body_bytes`, whatever is said here. A quarter of it is for buffers of 64 KiB, one for each body that is \
         spooled. Working on a body takes memory of its own, at most about twice as much again.",
    ),
    setting(
        "limits.max_inflight_answer_bytes",
        ["CRESSET_MAX_INFLIGHT_ANSWER_BYTES", "max-inflight-answer-bytes"],
        bytes!(max_inflight_answer_bytes, 64 << 10, BYTES_MAX),
        "Bytes of all answers of 64 KiB and more that are on their way to their readers; more are refused with 503, and the \
         result stays where it is. One that alone is larger is answered when there is no other.",
    ),
    setting(
        "limits.max_stream_bytes",
        ["CRESSET_MAX_STREAM_BYTES", "max-stream-bytes"],
        bytes!(max_stream_bytes, 64 << 10, BYTES_MAX),
        "Bytes at most that are kept in memory of results that come piece by piece (`[stream]` in `model.toml`) and of the log \
         lines of tasks, all models together, for readers who come late or come back. Beyond it the oldest of each go sooner: no \
         model waits, and no result is lost.",
    ),
    setting(
        "limits.spool_above",
        ["CRESSET_SPOOL_ABOVE", "spool-above"],
        bytes!(spool_above, 64 << 10, 1 << 30),
        "Request bodies of more bytes are kept in a file below the data folder while they come, and read into memory when \
         they are whole and there is room: a slow upload costs a small buffer.",
    ),
    setting(
        "limits.max_spool_bytes",
        ["CRESSET_MAX_SPOOL_BYTES", "max-spool-bytes"],
        bytes!(max_spool_bytes, 1 << 20, BYTES_MAX),
        "Bytes of all bodies in such files at most; more are refused with 503.",
    ),
    setting(
        "limits.max_wait",
        ["CRESSET_MAX_WAIT", "max-wait"],
        duration!(max_wait, Duration::ZERO, DAY),
        "The longest that `?wait=` waits for a task to end.",
    ),
    words(
        setting(
            "limits.max_queue_total",
            ["CRESSET_MAX_QUEUE_TOTAL", "max-queue-total"],
            maybe_int!(admission.max_queue, 1, TASKS_MAX),
            "Queued tasks of all models at most, those of models that are not served any more included; more are refused \
             with 503. Each model has `limits.max_queue` of its own.",
        ),
        AS_THE_MODELS,
        "1000000",
    ),
    words(
        setting(
            "limits.max_queue_bytes_total",
            ["CRESSET_MAX_QUEUE_BYTES_TOTAL", "max-queue-bytes-total"],
            maybe_bytes!(admission.max_queue_bytes, 1, BYTES_MAX),
            "Bytes of the queued inputs of all models at most; more are refused with 503.",
        ),
        AS_THE_MODELS,
        r#""16GiB""#,
    ),
    words(
        setting(
            "limits.max_waiting_total",
            ["CRESSET_MAX_WAITING_TOTAL", "max-waiting-total"],
            maybe_int!(admission.max_waiting, 1, 1_000_000),
            "Synchronous predictions of all models that may wait or run at once; more are refused with 503.",
        ),
        AS_THE_MODELS,
        "4096",
    ),
    setting(
        "clients.identify",
        ["CRESSET_CLIENTS_IDENTIFY", "clients-identify"],
        Field::Choice {
            names: ClientIdentity::NAMES,
            get: |c| c.clients.identify.name(),
            set: set_client_key,
        },
        "How clients are told apart for the bounds below. `off`: not at all, and none of them holds. `address`: by the \
         address of the connection; IPv6 by its network of 64 bits. `header`: by what `clients.header` says, and by the \
         address where it says nothing. Callers can write any header: use it behind a proxy that sets it.",
    ),
    setting(
        "clients.header",
        ["CRESSET_CLIENTS_HEADER", "clients-header"],
        Field::Text {
            form: "the name of a header in quotes",
            get: |c| Some(c.clients.header.clone()),
            set: set_client_header,
        },
        "The header that names the client, 1 to 128 visible ASCII characters; another value is refused with 422.",
    ),
    words(
        setting(
            "clients.max_queue",
            ["CRESSET_CLIENTS_MAX_QUEUE", "clients-max-queue"],
            maybe_int!(admission.client.max_queue, 1, TASKS_MAX),
            "Queued tasks of one client at most, over all models; more are refused with 429. Kept with the tasks, so a \
             restart changes nothing of it.",
        ),
        UNBOUNDED,
        "10000",
    ),
    words(
        setting(
            "clients.max_queue_bytes",
            ["CRESSET_CLIENTS_MAX_QUEUE_BYTES", "clients-max-queue-bytes"],
            maybe_bytes!(admission.client.max_queue_bytes, 1, BYTES_MAX),
            "Bytes of the queued inputs of one client at most; more are refused with 429.",
        ),
        UNBOUNDED,
        r#""256MiB""#,
    ),
    words(
        setting(
            "clients.max_waiting",
            ["CRESSET_CLIENTS_MAX_WAITING", "clients-max-waiting"],
            maybe_int!(admission.client.max_waiting, 1, 1_000_000),
            "Synchronous predictions of one client that may wait or run at once; more are refused with 429.",
        ),
        UNBOUNDED,
        "64",
    ),
    words(
        setting(
            "clients.max_requests",
            ["CRESSET_CLIENTS_MAX_REQUESTS", "clients-max-requests"],
            maybe_int!(admission.client.max_requests, 1, 1_000_000),
            "Requests of one client under way at once, long polls included; more are refused with 429. Health, metrics and \
             documents are not counted.",
        ),
        UNBOUNDED,
        "256",
    ),
    setting(
        "results.ttl",
        ["CRESSET_RESULT_TTL", "result-ttl"],
        duration!(
            result_ttl,
            Duration::from_secs(1),
            Duration::from_secs(3650 * 86_400)
        ),
        "How long a task and its result are kept after the task has ended.",
    ),
    store::URL,
    store::INBOX,
    store::INBOX_TENANT,
    setting(
        "store.durability",
        ["CRESSET_DURABILITY", "durability"],
        Field::Choice {
            names: &["fsync", "os"],
            get: |c| c.durability.name(),
            set: set_durability,
        },
        "When an accepted task counts as stored: `fsync`, after it is on the disk, survives a power cut; `os`, after the \
         operating system has it, survives a crash of ours and is faster. With `os` the answers say so.",
    ),
    setting(
        "store.dead_ttl",
        ["CRESSET_DEAD_TTL", "dead-ttl"],
        duration!(
            dead_ttl,
            Duration::from_secs(1),
            Duration::from_secs(3650 * 86_400)
        ),
        "How long a dead letter is kept: the input of a task that took its process down each time it was tried, with what \
         is known of how.",
    ),
    setting(
        "store.max_inline_bytes",
        ["CRESSET_MAX_INLINE_BYTES", "max-inline-bytes"],
        // Below a page of the database a file costs more than it can save; above, the database itself has a limit.
        bytes!(max_inline_bytes, 4 << 10, 512 << 20),
        "Inputs and results that are stored in more bytes than this are files of their own beside the database, written \
         once; smaller ones are rows in it. What is stored already stays where it is. PostgreSQL, MySQL and MariaDB keep all of them themselves.",
    ),
    words(
        setting(
            "webhooks.secrets_file",
            ["CRESSET_WEBHOOKS_SECRETS_FILE", "webhooks-secrets-file"],
            Field::Path {
                get: |c| c.webhooks.secrets_file.clone(),
                set: |c, p| c.webhooks.secrets_file = Some(p),
            },
            "A file with the secrets that webhooks are signed with, `whsec_` and 24 to 64 bytes in base64, one a line; a line \
             that begins with `#` is a remark. With several, each signs, so that receivers can go from the old one to the new. \
             `CRESSET_WEBHOOKS_SECRETS` takes them instead of a file. Without secrets no `callback_url` is accepted.",
        ),
        "none",
        r#""/etc/cresset/webhook-secrets""#,
    ),
    words(
        setting(
            "webhooks.allow",
            ["CRESSET_WEBHOOKS_ALLOW", "webhooks-allow"],
            Field::Text {
                form: "networks in one text, parted by commas, such as \"10.0.0.0/8, fd00::/8\"",
                get: show_webhooks_allow,
                set: set_webhooks_allow,
            },
            "Networks that webhooks may reach though they are not public. Without it private, loopback, link-local and other \
             special addresses are refused, whatever name leads to them: callers choose the addresses.",
        ),
        "none: public addresses only",
        r#""10.0.0.0/8""#,
    ),
    setting(
        "webhooks.retention",
        ["CRESSET_WEBHOOKS_RETENTION", "webhooks-retention"],
        duration!(
            webhooks.retention,
            Duration::from_secs(1),
            Duration::from_secs(3650 * 86_400)
        ),
        "How long a delivery is kept, to be listed and sent again, once it is delivered or given up; and how long an address \
         that answered 410 Gone stays disabled.",
    ),
    setting(
        "api.show_tracebacks",
        ["CRESSET_SHOW_TRACEBACKS", "show-tracebacks"],
        Field::Bool {
            get: |c| c.show_tracebacks,
            set: |c, b| c.show_tracebacks = b,
        },
        "Give callers the Python tracebacks of failed tasks. They show code and paths; the log has them in any case.",
    ),
    celery::QUEUES,
    celery::BROKER,
    celery::RESULT_BACKEND,
    celery::TASKS,
    celery::NODE,
    celery::VISIBILITY_TIMEOUT,
    celery::DEFAULT_QUEUE,
    celery::RESULT_EXPIRES,
    celery::TRACK_STARTED,
    celery::RESULT_EXTENDED,
    celery::EVENTS,
    celery::QUEUE_TYPE,
    celery::MAX_PRIORITY,
    celery::BROKER_KEY_PREFIX,
    celery::RESULT_KEY_PREFIX,
    celery::MASTER_NAME,
    celery::REFERENCE_ABOVE,
    auth::ENABLED,
    auth::KEYS,
    auth::OPEN_METRICS,
    auth::JWT_KEYS,
    auth::JWT_ISSUER,
    auth::JWT_AUDIENCE,
    auth::JWT_TENANT,
    setting(
        "log.level",
        ["CRESSET_LOG_LEVEL", "log-level"],
        Field::Text {
            form: "a level or filter directives in quotes, such as \"info\"",
            get: |c| Some(c.log_level.clone()),
            set: set_log_level,
        },
        "`error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,cresset_engine=debug`.",
    ),
    setting(
        "log.format",
        ["CRESSET_LOG_FORMAT", "log-format"],
        Field::Choice {
            names: &["text", "json"],
            get: |c| c.log_format.name(),
            set: set_log_format,
        },
        "How log lines look: `text` for people, `json` for programs, one object a line.",
    ),
];
