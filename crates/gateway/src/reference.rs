//! The generated pages of `docs/reference`: text made from the same tables that the server answers with.
//!
//! Written by `UPDATE_DOCS=1 cargo test -p cresset-gateway`; without it the tests fail when a committed page is stale.

use std::fmt::Write;

use cresset_task::Code;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Deprecated, RefOr};

use crate::api_document;
use crate::auth::rules::{self, Need};

/// A String takes any text.
const NEVER_FAILS: &str = "a String takes any text";

/// Said at the top of each page.
const GENERATED: &str = "<!-- generated: UPDATE_DOCS=1 cargo test -p cresset-gateway -->\n\n";

/// `errors.md`: every code, its statuses, its cause and its remedy. Headings are the codes, so that a problem's `type`
/// points at one.
#[must_use]
pub fn errors() -> String {
    let mut page = format!("# Errors\n\n{GENERATED}");
    page.push_str(
        "Every error of the HTTP API is `application/problem+json` (RFC 9457) with a stable `code`; `detail` says what \
         was wrong this time. The same codes name the failures of tasks and decide the exit status of the command \
         line. A code is never renamed or reused.\n\n\
         A problem has `type` (`/docs/errors#<code>`), `title`, `status`, `detail`, `code`, `instance` (the path) and \
         `request_id`. Beside these: `errors` with `invalid_input` (each wrong `field` and its `message`), `position` \
         with `malformed_body` (`byte`, `line`, `column`), `error` when a task failed (`code`, `type`, `message`, \
         `stage`, and `traceback` where the server shows them), `bound` where one was reached (`setting`, `unit`, `limit`, \
         `current`), and `retry_after` with everything that passes by itself (the same number of seconds as the \
         `Retry-After` header; at a bound it is computed from how fast work was done lately).\n\n\
         | code | HTTP | exit | title |\n| --- | --- | --- | --- |\n",
    );
    for code in Code::ALL {
        let (name, http, exit, title) = (code.name(), code.http_status(), code.exit_code(), code.title());
        writeln!(page, "| [`{name}`](#{name}) | {http} | {exit} | {title} |").expect(NEVER_FAILS);
    }
    for code in Code::ALL {
        let (name, http, exit) = (code.name(), code.http_status(), code.exit_code());
        let (title, cause, remedy) = (code.title(), code.cause(), code.remedy());
        write!(
            page,
            "\n## {name}\n\n**{title}.** HTTP status {http}, exit status {exit}.\n\n*Cause.* {cause}\n\n*Remedy.* {remedy}\n"
        )
        .expect(NEVER_FAILS);
    }
    page
}

/// What OpenAPI cannot say of keys in one place.
const KEYS: &str = r#"
## Keys

A server with `auth.enabled` takes requests with an API key only, `Authorization: Bearer crs_...`; probes (`/health/...`) need
none. `cresset keys create` makes one, for a tenant, with scopes and bounds; [SECURITY.md](../../SECURITY.md) says who is trusted
with what.

- No key, or one that opens nothing: 401 `unauthorized` with `WWW-Authenticate`. The scope or the model is lacking: 403
  `forbidden`, which names it. Too fast, or more open at once than the key may have: 429 (`rate_limited`, `client_limit`) with
  `Retry-After`. The bounds of `[clients]` hold for each key.
- A key sees the tasks and dead letters of its tenant, whichever of the tenant's keys made them; any other id is answered as one that is not there,
  also one that has expired. Idempotency keys are the tenant's own.
- The scope `admin` has the others in it and sees the tasks of every tenant, and those from before there were keys. What it
  submits is its own tenant's; what it replays stays its owner's.
- Where the server takes the tokens of an identity provider (`auth.jwt_keys`), `Authorization: Bearer` and such a token is as good as a key:
  its scopes are `cresset:submit`, `cresset:read` and `cresset:admin` in the claim `scope` or `scp`, its models those in `cresset_models`.
- A key that was made or revoked counts within a second. Who waits for a task's end (`wait`) is answered 401 then, and streams of events and
  WebSockets end; other requests under way end as they would have.

| call | needs |
| --- | --- |
"#;

/// The table of what each route needs.
fn keys(page: &mut String) {
    for (method, path, need, _) in rules::RULES {
        let needs = match need {
            Need::Nothing => "nothing".to_owned(),
            Need::Key => "any key".into(),
            Need::Figures => "`admin`; nothing with `auth.open_metrics`".into(),
            Need::Scope(scope) => format!("`{scope}`"),
            Need::Never => "nobody may".into(),
        };
        writeln!(page, "| {method} {path} | {needs} |").expect(NEVER_FAILS);
    }
}
/// What becomes of a caller's trace.
const TRACES: &str = r"
## Traces

A submit, a batch or a prediction with a `traceparent` as [W3C Trace Context](https://www.w3.org/TR/trace-context-1/) has it goes on with the caller's
trace; a `tracestate` of at most 512 bytes goes along. The trace is kept with the task, also across restarts, for each line of a batch and for each
message of a WebSocket as its handshake had it. The model sees it (`cresset.current().traceparent`), webhooks carry it in headers of the same names, with a span id of
ours, and the log has it as `trace_id`, as has the task. A `traceparent` that is none is not an error: the task has a trace of ours then. A submit that is sent again under its
`Idempotency-Key` changes nothing of the first one's. Answers carry neither header.
";

/// What a receiver of webhooks must know.
const WEBHOOKS: &str = r#"
## Webhooks

A task that was submitted with a `callback_url`, or whose model has a `[webhook]`, is told of by a POST to that address: of its end, or of the
`callback_events` that are wanted. The body is JSON of at most about 64 KiB:

```json
{"type": "task.succeeded", "timestamp": "2026-01-31T08:00:00.000000Z", "data": {"task_id": "...", "status": "SUCCESS", "result": 7}}
```

`type` is `task.` and one of `started`, `retried`, `succeeded`, `failed` and `revoked`. `data` of an end is the task as
`GET /v1/tasks/{id}` answers it, without traceback; `result_omitted` stands for a result that is too large, to be fetched there, and
`expired` for a task that was purged before it could be told. Others have the task's id, model, status, attempt, priority and metadata.

It is signed as [Standard Webhooks](https://www.standardwebhooks.com/) says, so any library for that verifies it, and so does
`cresset.webhooks.verify` in Python:

- `webhook-id`: the name of the event, the same for every try. Keep those you have seen: an event may come more than once.
- `webhook-timestamp`: when this try was made, in seconds. Refuse one that is five minutes off.
- `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, one for each of the server's secrets, parted by
  spaces. The key is the base64 behind `whsec_`.

Answer 2xx within 15 seconds, and work later. 410 disables the address: nothing more is sent there until something is replayed, or
for `webhooks.retention`. Everything else, redirects too, is tried again after 5 s, 30 s, 2, 5, 15 and 30 minutes, then 1, 2, 3, 4, 6 and 7 hours, each 20 %
more or less; a `Retry-After` with 429 or 503 may ask for longer, up to 6 hours. At most four are sent to one host at once. Of one task
they come one after the other; a later one takes the place of those before it that could not be delivered.
"#;

/// What OpenAPI cannot say of binary bodies in one place.
const BYTES: &str = r#"
## Tensors as bytes

Tensor models take their inputs as bytes too, which is cheaper than JSON for both sides. The body is the input and nothing
else.

A model with exactly one declared input:

- `Content-Type: application/octet-stream`: the elements of one item, row by row (C order), little-endian, of the declared
  type. `Cresset-Shape: 3,64,64` says the sizes; it is needed only where the declaration leaves some free (-1), and must
  agree with the declaration otherwise. A bool is one byte, 0 or 1.
- `Content-Type: application/x-npy`: a file as `numpy.save` writes it, versions 1.0 to 3.0. Its type and shape must be the
  declared ones; Fortran order and big-endian elements are refused.

`Cresset-Dtype` may say the type; another than the declared one is refused.

A model with any number of declared inputs:

- `Content-Type: application/x-safetensors` (also `application/vnd.safetensors` and `application/safetensors`; none is
  registered): a [safetensors](https://github.com/safetensors/safetensors) file whose tensors are the inputs, by name, in
  any order. Each must be there once, with the declared type and shape; `__metadata__` is passed over. A header of more
  than 1 MiB is refused.

NaN and infinity, which JSON cannot say, are passed to the model as they are. What a JSON body says beside `input` goes
into the query and the headers: `?priority=`, `Cresset-Metadata: {"k": 1}` and `Cresset-Retry: {"max_retries": 5}` for tasks,
`?timeout=` for predictions.

`Accept` asks for the results of predictions and tasks in the same forms. `application/octet-stream` and
`application/x-npy` are the bytes of one tensor, with `Cresset-Shape` and `Cresset-Dtype`; `application/x-safetensors` is
all tensors by name (one that model.toml does not name is called `output`). `Cresset-Model` and `Cresset-Version` say who
made the result. What has no such form (JSON; several tensors as one; bfloat16 as `.npy`) is then `not_acceptable`,
unless a form that it has is accepted as well, such as JSON. Errors, and tasks that have not ended, are JSON whatever is
accepted.

With the digits example, 64 float32 pixels that are all 0:

```sh
head -c 256 /dev/zero | curl -s --data-binary @- -H 'Content-Type: application/octet-stream' \
  http://127.0.0.1:8700/v1/models/digits/predict
```

From NumPy and back to it:

```sh
python3 -c 'import numpy as np; np.save("digit.npy", np.zeros((1, 8, 8), np.float32))'
curl -s --data-binary @digit.npy -H 'Content-Type: application/x-npy' -H 'Accept: application/x-npy' \
  -o probabilities.npy http://127.0.0.1:8700/v1/models/digits/predict
python3 -c 'import numpy as np; print(np.load("probabilities.npy"))'
```

With safetensors, here from torch:

```sh
python3 -c 'import torch; from safetensors.torch import save_file
save_file({"pixels": torch.zeros(1, 8, 8)}, "digit.safetensors")'
curl -s --data-binary @digit.safetensors -H 'Content-Type: application/x-safetensors' \
  -H 'Accept: application/x-safetensors' -o out.safetensors http://127.0.0.1:8700/v1/models/digits/predict
python3 -c 'from safetensors.torch import load_file; print(load_file("out.safetensors"))'
```
"#;

/// What OpenAPI cannot say of files in one place.
const FILES: &str = r#"
## Files

An object model with `files = true` in its `model.toml` takes files, on submit and predict:

- A body of any type but JSON, such as `Content-Type: image/png`, is one file, and the model's input is that file.
- `Content-Type: multipart/form-data`: the input is an object of the form's parts, by name. A part with a filename is a file; one with
  `Content-Type: application/json` is that JSON; others are text, in UTF-8, of 1 MiB at most. At most 64 parts, each with a name of its own.
- In JSON a file is `{"$file": {"content_type": "image/png", "filename": "a.png", "data": "<base64>"}}`, anywhere in the input;
  `content_type` and `filename` may be left out. A file in a result has this form too.

The model gets each as a `cresset.File`, with `data`, `content_type`, `filename` and `as_path()`; the type and the name are what the sender
says. Beside a file and a form, what a JSON body says beside `input` goes into the query and the headers, as with tensors. A file takes a
third more than its bytes in the store and counts so.

A result that is a file, and nothing beside, is answered as its bytes where `Accept` names its type or family (`image/png`, `image/*`) or
`application/octet-stream`, on predict and `GET /v1/tasks/{id}/result` (and `GET /v1/dead/{id}/input`): under its `Content-Type`, to be saved
(`Content-Disposition: attachment`, with its name). `*/*` is JSON, as everywhere.
 Other models answer 415 to a body that is no JSON (or tensors).

```sh
curl -s --data-binary @a.png -H 'Content-Type: image/png' http://127.0.0.1:8700/v1/models/resize/predict
curl -s --data-binary @a.png -H 'Content-Type: image/png' -H 'Accept: image/*' http://127.0.0.1:8700/v1/models/resize/predict > b.png
curl -s -F image=@a.png -F width=64 http://127.0.0.1:8700/v1/models/resize/tasks
```
"#;

/// `http.md`: every call, from the OpenAPI document.
#[must_use]
pub fn http() -> String {
    let mut page = format!("# HTTP API\n\n{GENERATED}");
    page.push_str(
        "The native API: JSON (or the bytes of tensors) in and out, errors as [problems](errors.md). `openapi.json` beside this page (and at \
         `/openapi.json` of a server) has the schemas. Every answer carries `X-Request-Id`: the caller's, if it sent a \
         sane one, else a fresh one.\n\n\
         Bodies are `{\"input\": X, ...options}`. An unknown key or query parameter is an error that names it. \
         `Content-Type` is `application/json` or absent, or says that the body is [bytes](#tensors-as-bytes) or [files](#files). Times are RFC 3339 in UTC; durations are `30s`, `500ms`, `2m`, \
         `1h`, or a number of seconds. A body may be in one of gzip and zstd, with `Content-Encoding`; answers of text are in one of them above `server.compress_above`, where `Accept-Encoding` asks for that. Bytes that are not HTTP/1.1 are answered by a bare 400 or 431, or by closing the \
         connection.\n",
    );
    page.push_str(KEYS);
    keys(&mut page);
    page.push_str(BYTES);
    page.push_str(FILES);
    page.push_str(TRACES);
    page.push_str(WEBHOOKS);
    let document = api_document::document();
    for (path, item) in &document.paths.paths {
        for (method, operation) in [("GET", &item.get), ("POST", &item.post), ("DELETE", &item.delete)] {
            if let Some(operation) = operation {
                describe(&mut page, method, path, operation);
            }
        }
    }
    page
}

fn describe(page: &mut String, method: &str, path: &str, operation: &Operation) {
    let line = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
    write!(page, "\n## {method} {path}\n\n{}\n", line(&operation.summary)).expect(NEVER_FAILS);
    if let Some(text) = &operation.description {
        write!(page, "\n{}\n", text.trim()).expect(NEVER_FAILS);
    }
    debug_assert!(
        !matches!(operation.deprecated, Some(Deprecated::True)),
        "say so on the page first"
    );
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    if !parameters.is_empty() {
        page.push('\n');
    }
    for parameter in parameters {
        let RefOr::T(parameter) = parameter else { continue };
        writeln!(page, "- `{}`: {}", parameter.name, line(&parameter.description)).expect(NEVER_FAILS);
    }
    page.push_str("\n| status | meaning |\n| --- | --- |\n");
    for (status, response) in &operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        writeln!(page, "| {status} | {} |", response.description.replace('\n', " ")).expect(NEVER_FAILS);
    }
}

/// `metrics.md`, from what `/metrics` of a server that has done everything once answers.
#[must_use]
pub fn metrics(exposition: &str) -> String {
    let mut page = format!("# Metrics\n\n{GENERATED}");
    page.push_str(
        "`GET /metrics` answers OpenMetrics 1.0. Counters carry the suffix `_total`, histograms `_bucket`, `_sum` and \
         `_count`. Times are in seconds.\n\n| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for (name, help) in exposition
        .lines()
        .filter_map(|l| l.strip_prefix("# HELP ")?.split_once(' '))
    {
        let kind = exposition
            .lines()
            .find_map(|l| l.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_default();
        writeln!(
            page,
            "| `{name}` | {kind} | {} | {help} |",
            labels(exposition, name).join(", ")
        )
        .expect(NEVER_FAILS);
    }
    page
}

/// The label names of a metric, from its first sample that has any; a histogram's `le` is no label of ours.
fn labels(exposition: &str, name: &str) -> Vec<String> {
    let samples = exposition.lines().filter(|l| !l.starts_with('#'));
    let inside = samples.filter_map(|l| {
        let (metric, rest) = l.split_once('{')?;
        let own = metric.strip_prefix(name)?;
        matches!(own, "" | "_total" | "_bucket" | "_sum" | "_count")
            .then(|| rest.rsplit_once('}').map(|(inside, _)| inside))?
    });
    let names = |inside: &str| -> Vec<String> {
        inside
            .split("\",")
            .filter_map(|pair| pair.split_once('='))
            .map(|(label, _)| label.to_owned())
            .collect()
    };
    let mut found = inside.map(names).next().unwrap_or_default();
    found.retain(|label| label != "le");
    found.iter().map(|label| format!("`{label}`")).collect()
}
