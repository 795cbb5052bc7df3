//! How the program ends: the one error type that reaches `main`, and every exit status it can give.
//!
//! A [`Trouble`] says what was wrong and ends with something the reader can type. Exit statuses are those of sysexits.h
//! where one fits, so that scripts and service managers can tell "your input is wrong" from "try again later".
//! Commands return a `Trouble`; only `main` prints it and exits.

use std::fmt;

use cresset_task::Code;

/// An exit status and when it is given. `docs/reference/cli.md` and `cresset --help` list them from [`Exit::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// It worked.
    pub(crate) const OK: Self = Self(0);
    /// A task ended in FAILURE or REVOKED.
    pub(crate) const TASK_FAILED: Self = Self(1);
    /// A check found something wrong. The same status: what was asked for is not as it should be.
    pub(crate) const FOUND_WRONG: Self = Self::TASK_FAILED;
    /// The command line is wrong.
    pub(crate) const USAGE: Self = Self(64);
    /// An input, a model folder or the configuration is wrong.
    pub(crate) const DATA: Self = Self(65);
    /// A file, a model or a task is not there.
    pub(crate) const NOT_FOUND: Self = Self(66);
    /// The server does not answer.
    pub(crate) const UNAVAILABLE: Self = Self(69);
    /// A bug.
    pub(crate) const SOFTWARE: Self = Self(70);
    /// A file is in the way or cannot be made.
    pub(crate) const CANNOT_CREATE: Self = Self(73);
    /// Reading or writing failed.
    pub(crate) const IO: Self = Self(74);
    /// It may work later.
    pub(crate) const TRY_AGAIN: Self = Self(75);
    /// The server needs a key, or another one.
    pub(crate) const NO_PERMISSION: Self = Self(77);
    /// `--wait=TIMEOUT` ran out (the status of timeout(1)).
    pub(crate) const WAIT_TIMEOUT: Self = Self(124);
    /// Ctrl-C: 128 + SIGINT.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// Told to stop: 128 + SIGTERM.
    pub(crate) const TERMINATED: Self = Self(143);

    /// Every status with its meaning, for the help and the reference.
    pub(crate) const ALL: &'static [(Self, &'static str)] = &[
        (Self::OK, "it worked"),
        (
            Self::TASK_FAILED,
            "a task ended in FAILURE or REVOKED (in bulk, at least one line did); a check found a problem",
        ),
        (Self::USAGE, "the command line is wrong"),
        (
            Self::DATA,
            "an input, a model folder or the configuration is wrong",
        ),
        (
            Self::NOT_FOUND,
            "no such file, model or task (or the task has expired)",
        ),
        (
            Self::UNAVAILABLE,
            "no server answers, or the model cannot serve now",
        ),
        (Self::SOFTWARE, "a bug in Cresset"),
        (Self::CANNOT_CREATE, "a file is in the way or cannot be made"),
        (Self::IO, "reading or writing failed"),
        (
            Self::TRY_AGAIN,
            "not now: the queue is full, the server is stopping or went away, the task has not ended",
        ),
        (
            Self::NO_PERMISSION,
            "the server needs a key, or one that may do more",
        ),
        (Self::WAIT_TIMEOUT, "--wait=TIMEOUT ran out before the task ended"),
        (Self::INTERRUPTED, "interrupted with Ctrl-C"),
        (Self::TERMINATED, "stopped with SIGTERM"),
    ];

    /// The number.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        Self(code.exit_code())
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Trouble {
    exit: Exit,
    /// `None` for an end that needs no words: whoever read our output has read enough.
    message: Option<String>,
    details: Vec<String>,
    hint: Option<String>,
}

impl Trouble {
    /// A message that says what was wrong, in lower case and without a full stop.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: Some(message.into()),
            details: Vec::new(),
            hint: None,
        }
    }

    /// An exit status without words: what there was to say is said.
    pub(crate) const fn quiet(exit: Exit) -> Self {
        Self {
            exit,
            message: None,
            details: Vec::new(),
            hint: None,
        }
    }

    /// A file that could not be read or written.
    pub(crate) fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NOT_FOUND,
            _ => Exit::IO,
        };
        Self::new(exit, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// A line below the message.
    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// What the reader can do; with something to type where there is something.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit status.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// True when nothing is to be printed.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.message.is_none()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(message) = &self.message else {
            return Ok(());
        };
        write!(f, "error: {message}")?;
        for line in &self.details {
            write!(f, "\n  {line}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_status_of_an_error_code_is_in_the_list() {
        for code in Code::ALL {
            assert!(
                Exit::ALL.iter().any(|(exit, _)| *exit == Exit::from(*code)),
                "{code}"
            );
        }
    }

    #[test]
    fn statuses_are_listed_once_and_in_order() {
        assert!(
            Exit::ALL
                .windows(2)
                .all(|pair| pair[0].0.number() < pair[1].0.number())
        );
    }

    #[test]
    fn a_trouble_reads_message_details_hint() {
        let trouble = Trouble::new(Exit::DATA, "it is odd")
            .detail("input[0]: must be a number")
            .hint("try `cresset models`");
        assert_eq!(
            trouble.to_string(),
            "error: it is odd\n  input[0]: must be a number\n  hint: try `cresset models`"
        );
    }
}
