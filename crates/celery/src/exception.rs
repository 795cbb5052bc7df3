//! Exceptions, as a result holds them: the client builds a Python exception of that class.

use cresset_task::{Code, Failure};
use serde_json::{Value, json};

use crate::ours::Own;
use crate::python::repr;

const BUILTINS: &str = "builtins";
const CELERY: &str = "celery.exceptions";
const BILLIARD: &str = "billiard.exceptions";

/// The exceptions that Python has without an import, and whose constructor takes one text.
const BUILTIN_NAMES: &[&str] = &[
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "EOFError",
    "Exception",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "ImportError",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "ProcessLookupError",
    "RecursionError",
    "ReferenceError",
    "RuntimeError",
    "StopIteration",
    "SyntaxError",
    "SystemError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "ValueError",
    "ZeroDivisionError",
];

/// A Python exception.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// The class.
    pub type_: String,
    /// The module that the class is in. A client that has not imported it makes a class of this name up.
    pub module: String,
    /// What its constructor is given.
    pub args: Vec<Value>,
    /// The failure that it stands for, where whoever is told is one of ours.
    pub(crate) own: Option<Box<Own>>,
}

impl Exception {
    fn new(module: &str, type_: &str, arg: Value) -> Self {
        Self {
            type_: type_.into(),
            module: module.into(),
            args: vec![arg],
            own: None,
        }
    }

    /// One of Python's own.
    #[must_use]
    pub fn builtin(type_: &str, message: &str) -> Self {
        Self::new(BUILTINS, type_, json!(message))
    }

    /// No task of this name is answered here.
    #[must_use]
    pub fn not_registered(task: &str) -> Self {
        Self::new(CELERY, "NotRegistered", json!(task))
    }

    /// The message is none that a worker can take.
    #[must_use]
    pub fn invalid_task(why: &str) -> Self {
        Self::new(CELERY, "InvalidTaskError", json!(why))
    }

    /// `revoked`, `expired` or `terminated`.
    #[must_use]
    pub fn revoked(reason: &str) -> Self {
        Self::new(CELERY, "TaskRevokedError", json!(reason))
    }

    /// A part of a chord failed, so that its body has nothing to work on.
    #[must_use]
    pub fn chord(part: &str, exception: &str) -> Self {
        let message = format!("Dependency {part} raised {exception}");
        Self::new(CELERY, "ChordError", json!(message))
    }

    /// As [`Self::chord`], for a reason of our own.
    #[must_use]
    pub fn chord_because(why: &str) -> Self {
        Self::new(CELERY, "ChordError", json!(why))
    }

    /// The time limit of so many seconds was reached.
    #[must_use]
    pub fn time_limit(seconds: f64) -> Self {
        Self::new(BILLIARD, "TimeLimitExceeded", json!(seconds))
    }

    /// It was delivered so often and never ended: whoever ran it may have died of it.
    #[must_use]
    pub fn worker_lost(deliveries: u64) -> Self {
        let message = format!("the task was delivered {deliveries} times before and never ended");
        Self::new(BILLIARD, "WorkerLostError", json!(message))
    }

    /// What a model's failure is to a client. `seconds` is the model's time limit.
    #[must_use]
    pub fn of_failure(failure: &Failure, seconds: f64) -> Self {
        match failure.code {
            Code::TimeLimit => return Self::time_limit(seconds),
            Code::SoftTimeout => return Self::new(BILLIARD, "SoftTimeLimitExceeded", json!(failure.message)),
            Code::InstanceDied => return Self::new(BILLIARD, "WorkerLostError", json!(failure.message)),
            _ => {}
        }
        let name = failure.type_.as_str();
        match name.rsplit_once('.') {
            Some((module, class)) if !module.is_empty() && !class.is_empty() => {
                Self::new(module, class, json!(failure.message))
            }
            _ if BUILTIN_NAMES.contains(&name) => Self::builtin(name, &failure.message),
            // A class of the model's own file, or one of ours: its name is all that a client can know of it.
            _ => Self::new("cresset.models", name, json!(failure.message)),
        }
    }

    /// The same for a server of ours, which is told the failure as it is.
    #[must_use]
    pub fn standing_for(mut self, failure: &Failure) -> Self {
        self.own = Some(Box::new(Own::of(failure)));
        self
    }

    /// As a result holds it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({"exc_type": self.type_, "exc_message": self.args, "exc_module": self.module})
    }

    /// What a result holds; one of another form is an `Exception`.
    pub(crate) fn of_stored(stored: &Value) -> Self {
        let text = |name: &str| {
            let text = stored.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let args = match stored.get("exc_message") {
            Some(Value::Array(args)) => args.clone(),
            None | Some(Value::Null) => Vec::new(),
            Some(other) => vec![other.clone()],
        };
        Self {
            type_: text("exc_type").unwrap_or_else(|| "Exception".into()),
            module: text("exc_module").unwrap_or_else(|| BUILTINS.into()),
            args,
            own: None,
        }
    }

    /// The class as Python shows it: its own bare, others with their module.
    pub(crate) fn dotted(&self) -> String {
        match self.module.as_str() {
            BUILTINS | "__main__" => self.type_.clone(),
            module => format!("{module}.{}", self.type_),
        }
    }

    /// The exception as `str` shows it.
    pub(crate) fn message(&self) -> String {
        match self.args.as_slice() {
            [] => String::new(),
            [Value::String(text)] => text.clone(),
            [one] => repr(one),
            args => format!("({})", args.iter().map(repr).collect::<Vec<_>>().join(", ")),
        }
    }

    /// `ValueError('boom')`.
    #[must_use]
    pub fn repr(&self) -> String {
        let args: Vec<_> = self.args.iter().map(repr).collect();
        format!("{}({})", self.type_, args.join(", "))
    }

    /// The last line of a traceback: `ValueError: boom`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {}", self.dotted(), self.message())
    }

    /// The exception that a stored result holds, as `repr` shows it; for naming what made a chord fail.
    #[must_use]
    pub fn repr_of(stored: &Value) -> String {
        Self::of_stored(stored).repr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, type_: &str) -> Failure {
        Failure {
            code,
            type_: type_.into(),
            message: "boom".into(),
            traceback: None,
            stage: None,
            again: Default::default(),
        }
    }

    #[test]
    fn failures_become_exceptions_of_the_class_that_was_raised() {
        let of = |code, type_| Exception::of_failure(&failure(code, type_), 60.0);
        let value = of(Code::ModelError, "ValueError");
        assert_eq!(
            (value.module.as_str(), value.repr().as_str()),
            ("builtins", "ValueError('boom')")
        );
        let own = of(Code::ModelError, "requests.exceptions.ConnectionError");
        assert_eq!(
            (own.module.as_str(), own.type_.as_str()),
            ("requests.exceptions", "ConnectionError")
        );
        assert_eq!(of(Code::TimeLimit, "TimeLimit").repr(), "TimeLimitExceeded(60.0)");
        assert_eq!(of(Code::InstanceDied, "InstanceDied").type_, "WorkerLostError");
        assert_eq!(of(Code::ModelError, "MyError").module, "cresset.models");
        assert_eq!(value.line(), "ValueError: boom");
        assert_eq!(Exception::repr_of(&value.to_value()), value.repr());
    }
}
