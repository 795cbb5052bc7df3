//! What came of asking the engine, as whoever sent the task is told it.

use cresset_celery::{Exception, Head, Status, write_tensors};
use cresset_task::{Code, Failure, Payload, json};
use serde_json::value::RawValue;

/// What came of asking the engine.
pub(crate) enum Answer {
    Ends(Status),
    Failed(Failure),
    Back,
}

impl Answer {
    pub(crate) fn of(output: &Payload, head: &Head) -> Self {
        let text = match output {
            Payload::Json(text) => text.to_vec(),
            Payload::Tensors(set) if head.is_ours => {
                return Self::Ends(Status::Tensors(write_tensors(&head.id, set)));
            }
            Payload::Tensors(set) => {
                let mut text = Vec::new();
                json::write_outputs(set, &mut text);
                text
            }
        };
        let raw = String::from_utf8(text)
            .ok()
            .and_then(|text| RawValue::from_string(text).ok());
        match raw {
            Some(raw) => Self::Ends(Status::Success(raw)),
            None => {
                let exception = Exception::builtin("RuntimeError", "the model's result is not JSON");
                let line = exception.line();
                Self::Ends(Status::Failure(exception, line))
            }
        }
    }
}

/// What a server of ours is told of an input that the model does not take: it has checked it by other settings.
pub(crate) fn unfit(message: String) -> Failure {
    Failure::new(Code::InvalidInput, "InvalidInput", message)
}
