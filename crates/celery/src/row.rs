//! A task's state and result as rows of SQL tables: Celery's own (SQLAlchemy), and those of django-celery-results.

use cresset_task::Timestamp;
use serde_json::{Value, json};

use crate::message::JSON;
use crate::meta::{Meta, Status};
use crate::pickle::pickle;

/// Celery's own columns for names hold so many characters.
const NAME_MAX: usize = 155;
/// As many as django-celery-results keeps of a worker's name, and of a task's.
const DJANGO_WORKER_MAX: usize = 100;
const DJANGO_NAME_MAX: usize = 255;

/// What one column holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A number.
    Int(i64),
    /// A time; where a column has no zone, UTC.
    Time(Timestamp),
}

impl Cell {
    fn of(text: Option<&str>) -> Self {
        // PostgreSQL has no NUL in a text.
        text.map_or(Self::Null, |text| Self::Text(text.replace('\0', "\u{fffd}")))
    }

    /// For people: not more than the column takes.
    fn cut(text: &str, max: usize) -> Self {
        Self::of(Some(&text.chars().take(max).collect::<String>()))
    }

    fn json(value: &Value) -> Self {
        Self::Bytes(value.to_string().into_bytes())
    }
}

/// Columns with what they hold, but for the task's id.
pub type Row = Vec<(&'static str, Cell)>;

fn traceback(status: &Status) -> Option<&str> {
    match status {
        Status::Retry(_, text) | Status::Failure(_, text) => Some(text),
        Status::Started { .. }
        | Status::Success(_)
        | Status::Tensors(_)
        | Status::Parcel(_)
        | Status::Revoked(_) => None,
    }
}

/// A row of `celery_taskmeta`. `has` knows the columns of the table: Celery 5.7 writes results as JSON into one that it has made, which
/// has a column for children; older ones can read nothing but a pickle, from a table of their own.
///
/// `None`: the result can be no pickle.
#[must_use]
pub fn celery_row(meta: &Meta<'_>, has: &dyn Fn(&str) -> bool) -> Option<Row> {
    let Meta { head, status, .. } = meta;
    let result = status.result();
    let result = match has("children") {
        true => result.into_bytes(),
        false => pickle(&result)?,
    };
    let children = match meta.children {
        [] => Cell::Null,
        some => Cell::json(&json!(some)),
    };
    let mut row = vec![
        ("status", Cell::Text(status.name().into())),
        ("result", Cell::Bytes(result)),
        ("date_done", meta.done.map_or(Cell::Null, Cell::Time)),
        ("traceback", Cell::of(traceback(status))),
        ("children", children),
    ];
    if let Some((node, queue)) = meta.extended {
        let stamps = match head.stamped_headers.as_slice() {
            [] => Cell::Null,
            names => Cell::json(&json!({"stamped_headers": names, "stamps": head.stamps})),
        };
        row.extend([
            ("name", Cell::cut(&head.name, NAME_MAX)),
            ("args", Cell::json(&json!(head.argsrepr))),
            ("kwargs", Cell::json(&json!(head.kwargsrepr))),
            ("worker", Cell::cut(node, NAME_MAX)),
            ("retries", Cell::Int(head.retries.into())),
            ("queue", Cell::cut(queue, NAME_MAX)),
            ("stamps", stamps),
        ]);
    }
    row.retain(|(name, _)| has(name));
    Some(row)
}

/// A row of `django_celery_results_taskresult`.
#[must_use]
pub fn django_row(meta: &Meta<'_>, now: Timestamp) -> Row {
    let Meta { head, status, .. } = meta;
    let mut row = vec![
        ("status", Cell::Text(status.name().into())),
        ("content_type", Cell::Text(JSON.into())),
        ("content_encoding", Cell::Text("utf-8".into())),
        ("result", Cell::Text(status.result())),
        ("traceback", Cell::of(traceback(status))),
        ("meta", Cell::Text(json!({"children": meta.children}).to_string())),
        ("date_done", Cell::Time(now)),
    ];
    if matches!(status, Status::Started { .. }) {
        row.push(("date_started", Cell::Time(now)));
    }
    if let Some((node, _)) = meta.extended {
        let shown = |text: &str| Cell::Text(json!(text).to_string());
        let periodic = head.periodic_task_name.as_deref();
        row.extend([
            ("task_name", Cell::cut(&head.name, DJANGO_NAME_MAX)),
            ("task_args", shown(&head.argsrepr)),
            ("task_kwargs", shown(&head.kwargsrepr)),
            ("worker", Cell::cut(node, DJANGO_WORKER_MAX)),
            (
                "periodic_task_name",
                periodic.map_or(Cell::Null, |name| Cell::cut(name, DJANGO_NAME_MAX)),
            ),
        ]);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exception::Exception;
    use crate::head::Head;

    fn cell<'a>(row: &'a Row, name: &str) -> Option<&'a Cell> {
        row.iter()
            .find(|(column, _)| *column == name)
            .map(|(_, cell)| cell)
    }

    #[test]
    fn a_table_of_an_older_celery_has_a_pickle_and_a_newer_one_json() {
        let head = Head::default();
        let status = Status::Failure(Exception::builtin("ValueError", "boom"), "a\0b".into());
        let meta = Meta {
            head: &head,
            status: &status,
            children: &[],
            done: Some(Timestamp::from_micros(1)),
            extended: Some(("n@h", "q")),
        };
        let old = celery_row(&meta, &|name| !matches!(name, "children" | "stamps")).unwrap();
        assert!(matches!(cell(&old, "result"), Some(Cell::Bytes(bytes)) if bytes.starts_with(b"\x80\x02}(")));
        assert_eq!(cell(&old, "children"), None);
        assert_eq!(cell(&old, "traceback"), Some(&Cell::Text("a\u{fffd}b".into())));
        assert_eq!(cell(&old, "worker"), Some(&Cell::Text("n@h".into())));
        let new = celery_row(&meta, &|_| true).unwrap();
        assert!(
            matches!(cell(&new, "result"), Some(Cell::Bytes(bytes)) if bytes.starts_with(b"{\"exc_type\""))
        );
        assert_eq!(cell(&new, "children"), Some(&Cell::Null));
    }

    #[test]
    fn django_has_text_and_the_arguments_as_json_of_their_text() {
        let head = Head {
            name: "x".repeat(300),
            argsrepr: "(2, 3)".into(),
            periodic_task_name: Some("hourly".into()),
            ..Head::default()
        };
        let status = Status::Started {
            pid: 1,
            node: "n@h".into(),
        };
        let mut meta = Meta {
            head: &head,
            status: &status,
            children: &[],
            done: None,
            extended: None,
        };
        let at = Timestamp::from_micros(5);
        let plain = django_row(&meta, at);
        assert_eq!(cell(&plain, "date_started"), Some(&Cell::Time(at)));
        assert_eq!(cell(&plain, "task_args"), None);
        assert_eq!(
            cell(&plain, "meta"),
            Some(&Cell::Text("{\"children\":[]}".into()))
        );
        meta.extended = Some(("n@h", "q"));
        let extended = django_row(&meta, at);
        assert_eq!(
            cell(&extended, "task_args"),
            Some(&Cell::Text("\"(2, 3)\"".into()))
        );
        assert!(matches!(cell(&extended, "task_name"), Some(Cell::Text(name)) if name.len() == 255));
        assert_eq!(
            cell(&extended, "periodic_task_name"),
            Some(&Cell::Text("hourly".into()))
        );
    }
}
