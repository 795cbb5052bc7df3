//! What a doctor says: lines with a status, what was looked at, what is so, and what to do about it.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    status: Status,
    /// What was looked at; a stable word for programs.
    area: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

#[derive(Serialize)]
pub(super) struct Document<'a> {
    ok: bool,
    lines: &'a [Line],
}

impl Lines {
    pub(super) fn ok(&mut self, area: impl Into<String>, text: impl Into<String>) {
        self.add(Status::Ok, area.into(), text.into(), None);
    }

    pub(super) fn warn(
        &mut self,
        area: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Status::Warn, area.into(), text.into(), Some(remedy.into()));
    }

    pub(super) fn fail(
        &mut self,
        area: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Status::Fail, area.into(), text.into(), Some(remedy.into()));
    }

    fn add(&mut self, status: Status, area: String, text: String, remedy: Option<String>) {
        // One line each, whatever a program said.
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.push(Line {
            status,
            area,
            text: one_line(text),
            remedy: remedy.map(one_line),
        });
    }

    fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|line| line.status == status).count()
    }

    pub(super) fn failures(&self) -> usize {
        self.count(Status::Fail)
    }

    pub(super) fn document(&self) -> Document<'_> {
        Document {
            ok: self.failures() == 0,
            lines: &self.0,
        }
    }

    /// `ok    area  text`, the areas aligned; a remedy is a line of its own below.
    pub(super) fn render(&self) -> String {
        let width = self
            .0
            .iter()
            .map(|line| line.area.chars().count())
            .max()
            .unwrap_or(0);
        let mut out = String::new();
        for line in &self.0 {
            let status = match line.status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
            };
            out.push_str(&format!("{status:<4}  {:<width$}  {}\n", line.area, line.text));
            if let Some(remedy) = &line.remedy {
                out.push_str(&format!("      {:<width$}  -> {remedy}\n", ""));
            }
        }
        out
    }

    pub(super) fn summary(&self) -> String {
        match (self.failures(), self.count(Status::Warn)) {
            (0, 0) => "all is well".into(),
            (0, warnings) => format!("nothing fails; warnings: {warnings}"),
            (failures, warnings) => format!("failures: {failures}, warnings: {warnings}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        let mut lines = Lines::default();
        lines.ok("config", "the settings and 2 models are valid");
        lines.warn(
            "model digits",
            "its environment\nis not built yet",
            "`cresset env build`",
        );
        lines.fail("port", "127.0.0.1:8700 is in use", "stop that server");
        lines
    }

    #[test]
    fn lines_are_aligned_and_each_remedy_is_below_its_line() {
        insta::assert_snapshot!(lines().render(), @r"
        ok    config        the settings and 2 models are valid
        warn  model digits  its environment is not built yet
                            -> `cresset env build`
        FAIL  port          127.0.0.1:8700 is in use
                            -> stop that server
        ");
        assert_eq!(lines().summary(), "failures: 1, warnings: 1");
    }

    #[test]
    fn a_program_reads_the_same() {
        let text = serde_json::to_string(&lines().document()).unwrap();
        insta::assert_snapshot!(text, @r#"{"ok":false,"lines":[{"status":"ok","area":"config","text":"the settings and 2 models are valid"},{"status":"warn","area":"model digits","text":"its environment is not built yet","remedy":"`cresset env build`"},{"status":"fail","area":"port","text":"127.0.0.1:8700 is in use","remedy":"stop that server"}]}"#);
    }
}
