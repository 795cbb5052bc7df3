//! A whole payload as an answer: a task's result, a dead letter's input.

use axum::http::{HeaderMap, StatusCode};
use cresset_task::Payload;

use crate::answer::{JSON, json, typed};
use crate::app::App;
use crate::binary_out::{self, Maker};
use crate::media::Accepted;
use crate::problem::Answer;
use crate::{answers, task_json};

/// The payload in the form that the caller accepts.
pub(crate) async fn answer(app: &App, headers: &HeaderMap, payload: Payload, maker: Maker<'_>) -> Answer {
    // A model that is not served any more has none that we know of.
    let has_files =
        || (app.engine.declaration(maker.model.as_str())).is_ok_and(|config| config.files.are_taken());
    if let Some(choice) = binary_out::choose(&Accepted::of(headers), &payload, has_files)? {
        return answers::counted(app, binary_out::answer(app, choice, maker).await?);
    }
    let mut response = match payload {
        Payload::Json(text) => typed(StatusCode::OK, JSON, text),
        Payload::Tensors(_) => {
            let weight = task_json::json_weight(&payload);
            let write = move || {
                let mut out = Vec::with_capacity(weight);
                task_json::write_payload(&payload, &mut out);
                out
            };
            json(StatusCode::OK, app.codec(weight, write).await?)
        }
    };
    binary_out::sign(response.headers_mut(), &maker);
    answers::counted(app, response)
}
