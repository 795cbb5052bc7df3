//! What goes to stdout: data, and nothing but data. Everything else goes to stderr through [`note`].
//!
//! A reader that has seen enough closes the pipe (`cresset models | head -1`); that is no error of ours, so a write to a
//! closed pipe becomes a quiet end instead of the panic that `println!` makes of it.

use std::io::{ErrorKind, Write};

use crate::exit::{Exit, Trouble};

/// Writes `bytes` to stdout and flushes.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Trouble> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| stdout_trouble(&error))
}

/// Writes one line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Trouble> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'\n');
    raw(&bytes)
}

/// Writes one JSON document and a newline.
pub(crate) fn json<T: serde::Serialize + ?Sized>(document: &T) -> Result<(), Trouble> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot write the JSON document: {error}")))?;
    line(&text)
}

/// What a failed write to stdout means.
pub(crate) fn stdout_trouble(error: &std::io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::BrokenPipe => Trouble::quiet(Exit::OK),
        _ => Trouble::new(Exit::IO, format!("cannot write to stdout: {error}")),
    }
}

/// Says something to a person, on stderr. Nobody listening is no reason to stop.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Rows under a head, columns aligned by their longest cell; readable without colour, cut by `awk` and `cut`.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table with these heads; one that starts with `>` is aligned to the right, as numbers are.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            right: heads.iter().map(|h| h.starts_with('>')).collect(),
            rows: vec![
                heads
                    .iter()
                    .map(|h| h.trim_start_matches('>').to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row; one cell for each head.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The whole table as text, each line ended.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(self.right.iter().zip(&widths))
                .map(|(cell, (right, width))| {
                    if *right {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                })
                .collect();
            out.push_str(cells.join(GAP).trim_end());
            out.push('\n');
        }
        out
    }
}

/// `name   value` lines, the values aligned.
pub(crate) fn pairs<'a>(items: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    let width = items
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    items
        .iter()
        .map(|(name, value)| format!("{}\n", format!("{name:<width$}{GAP}{value}").trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&["NAME", ">QUEUED", "STATE"]);
        table.row(["digits".to_owned(), "5".to_owned(), "ready".to_owned()]);
        table.row(["a-long-name".to_owned(), "12345".to_owned(), String::new()]);
        insta::assert_snapshot!(table.render(), @r"
        NAME         QUEUED  STATE
        digits            5  ready
        a-long-name   12345
        ");
    }

    #[test]
    fn pairs_are_aligned() {
        assert_eq!(
            pairs([("task", "1".to_owned()), ("status", String::new())]),
            "task    1\nstatus\n"
        );
    }
}
