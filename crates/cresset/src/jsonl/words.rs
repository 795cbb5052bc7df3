//! What a run says at its end.

use std::path::Path;
use std::time::Duration;

use super::Options;
use super::driver::Cut;
use super::progress::{Counts, rate};
use crate::exit::{Exit, Trouble};

/// What the words need to know of the run.
pub(super) struct Words {
    model: String,
    /// What to type to go on, when the run can be gone on with.
    again: Option<String>,
}

impl Words {
    pub(super) fn new(options: &Options) -> Self {
        let again = options.output.as_deref().map(|output| {
            format!(
                "cresset submit {} --jsonl {} --output {} --resume",
                options.model,
                quoted(&options.source),
                quoted(output)
            )
        });
        Self {
            model: options.model.clone(),
            again,
        }
    }

    /// Every line has its record.
    pub(super) fn summary(&self, counts: Counts, elapsed: Duration) -> String {
        let before = match counts.before {
            0 => String::new(),
            before => format!(" ({before} of them earlier)"),
        };
        format!(
            "{}: {} succeeded, {} failed{before}; {:.1} s, {:.1}/s",
            self.model,
            counts.succeeded,
            counts.failed,
            elapsed.as_secs_f64(),
            rate(counts, elapsed)
        )
    }

    /// The run was cut.
    pub(super) fn stopped(&self, cut: Cut, counts: Counts, waiting: u64) -> Trouble {
        let mut so_far = format!(
            "{} lines are written ({} succeeded, {} failed)",
            counts.done(),
            counts.succeeded,
            counts.failed
        );
        if waiting > 0 {
            so_far.push_str(&format!("; {waiting} more are submitted and go on"));
        }
        let trouble = match cut {
            Cut::Signal(exit) => Trouble::new(exit, format!("stopped; {so_far}")),
            Cut::Fatal(trouble) => trouble.detail(so_far),
            Cut::Output => Trouble::new(Exit::SOFTWARE, format!("the output ended by itself; {so_far}")),
        };
        match &self.again {
            Some(again) => trouble.hint(format!("go on with `{again}`")),
            None => trouble.hint("with --output FILE a run that is stopped can be gone on with"),
        }
    }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./,+@%=:".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_survives_the_shell() {
        assert_eq!(quoted(Path::new("a/b-1.jsonl")), "a/b-1.jsonl");
        assert_eq!(quoted(Path::new("my file's.jsonl")), r"'my file'\''s.jsonl'");
    }
}
