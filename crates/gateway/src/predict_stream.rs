//! Predictions that are answered piece by piece, by a streaming model, to a caller who asks for that.

use std::sync::{Arc, OnceLock};

use axum::http::request::Parts;
use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_engine::{EngineError, PredictEvent, PredictStream, Prediction};
use cresset_task::{Code, ModelName};

use crate::app::App;
use crate::auth::Pass;
use crate::json_out::ObjectOut;
use crate::problem::{Answer, Problem};
use crate::request_id::{NamedLater, RequestId};
use crate::streaming::{self, Form, Source};
use crate::task_json::{json_weight, write_payload};

/// What a result weighs beside itself.
const FRAME_BYTES: usize = 128;

/// Refuses to answer piece by piece what comes whole.
pub(crate) fn check(config: &ModelConfig) -> Result<(), Problem> {
    if config.stream.enabled {
        return Ok(());
    }
    Err(Problem::new(
        Code::NotAcceptable,
        format!(
            "model `{}` gives its results whole: ask for `application/json`; one that gives them piece by piece has \
             `[stream] enabled = true` in its model.toml",
            config.name
        ),
    ))
}

/// The answer. Hanging up drops the stream, which is how the engine learns of it.
pub(crate) fn answer(app: App, form: Form, stream: PredictStream, model: ModelName, parts: &Parts) -> Answer {
    let id = Arc::new(OnceLock::new());
    let pieces = Pieces {
        stream,
        app: app.clone(),
        form,
        model,
        path: parts.uri.path().to_owned(),
        id: Arc::clone(&id),
    };
    let mut response = streaming::answer(app, form, Pass::of(&parts.extensions), pieces);
    response.extensions_mut().insert(NamedLater(id));
    Ok(response)
}

struct Pieces {
    stream: PredictStream,
    app: App,
    form: Form,
    model: ModelName,
    path: String,
    /// The request's, known once there is an answer.
    id: Arc<OnceLock<RequestId>>,
}

impl Source for Pieces {
    type Event = PredictEvent;

    async fn next(&mut self) -> Option<PredictEvent> {
        self.stream.next().await
    }

    async fn write(&mut self, event: PredictEvent) -> Option<Bytes> {
        match event {
            PredictEvent::Live(piece) => {
                let (event, json) = streaming::live(piece);
                Some(self.form.frame(None, event, json))
            }
            PredictEvent::End(end) => match *end {
                Ok(prediction) => self.result(prediction).await,
                Err(error) => Some(self.error(error)),
            },
        }
    }
}

impl Pieces {
    async fn result(&mut self, prediction: Prediction) -> Option<Bytes> {
        let Prediction {
            output,
            version,
            cache,
            ..
        } = prediction;
        let (form, model) = (self.form, self.model.clone());
        let weight = json_weight(&output);
        let write = move || {
            let mut out = ObjectOut::new(weight + FRAME_BYTES);
            write_payload(&output, out.raw("result"));
            out.plain("model", &model);
            out.value("version", &version);
            if let Some(cache) = cache {
                out.plain("cache", cache.name());
            }
            form.frame(None, "result", out.end())
        };
        // It fails in one way only: the runtime shuts down.
        self.app.codec(weight, write).await.ok()
    }

    fn error(&self, error: EngineError) -> Bytes {
        let id = self.id.get().cloned().unwrap_or_else(RequestId::fresh);
        let tracebacks = self.app.options.show_tracebacks;
        let json = Problem::from(error).as_event(&self.path, &id, tracebacks);
        self.form.frame(None, "error", json)
    }
}
