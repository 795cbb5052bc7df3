//! Statements with their values written into them, so that many go to the database at once and none has to be prepared.
//!
//! A value is a number, or bytes in hexadecimal: nothing that comes from outside is ever read as SQL.

use std::borrow::Cow;

use cresset_task::{BulkId, TaskId};
use uuid::Uuid;

/// A statement has so many bytes at most, unless one row alone has more.
const STATEMENT_MAX: usize = 1024 * 1024;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Lit<'a> {
    Null,
    Int(i64),
    Id([u8; 16]),
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    /// A list without its brackets; an empty one is like nothing.
    Ints(&'a [i64]),
    /// The same of ids.
    Ids(&'a [TaskId]),
    /// The same of parcels.
    Uuids(&'a [Uuid]),
}

macro_rules! from_number {
    ($($number:ty),*) => {
        $(impl From<$number> for Lit<'_> {
            fn from(number: $number) -> Self {
                Self::Int(i64::from(number))
            }
        })*
    };
}
from_number!(i64, u32, i16, i8, u8, bool);

impl From<TaskId> for Lit<'_> {
    fn from(id: TaskId) -> Self {
        Self::Id(*id.as_bytes())
    }
}

impl From<BulkId> for Lit<'_> {
    fn from(id: BulkId) -> Self {
        Self::Id(*id.as_bytes())
    }
}

impl From<Uuid> for Lit<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(*id.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Lit<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<'a> From<&'a str> for Lit<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a String> for Lit<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text.as_str().into())
    }
}

impl From<String> for Lit<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a [i64]> for Lit<'a> {
    fn from(numbers: &'a [i64]) -> Self {
        Self::Ints(numbers)
    }
}

impl<'a> From<&'a [TaskId]> for Lit<'a> {
    fn from(ids: &'a [TaskId]) -> Self {
        Self::Ids(ids)
    }
}

impl<'a, T: Into<Lit<'a>>> From<Option<T>> for Lit<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement, each `?` of it one of these values.
macro_rules! sql {
    ($text:expr $(, $value:expr)* $(,)?) => {
        $crate::sql::fill($text, &[$($crate::sql::Lit::from($value)),*])
    };
}
pub(crate) use sql;

/// The values of a row.
macro_rules! row {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::sql::Lit::from($value)),*]
    };
}
pub(crate) use row;

/// A statement, each `?` of it one of these values, in their order.
pub(crate) fn fill(text: &str, values: &[Lit<'_>]) -> String {
    debug_assert_eq!(text.matches('?').count(), values.len(), "{text}");
    let mut sql = String::with_capacity(text.len() + 24 * values.len());
    let mut values = values.iter();
    let mut parts = text.split('?');
    sql.push_str(parts.next().unwrap_or_default());
    for part in parts {
        write(&mut sql, values.next().unwrap_or(&Lit::Null));
        sql.push_str(part);
    }
    sql
}

/// `INSERT ... VALUES` for all of these rows, in as many statements as it takes.
pub(crate) fn insert<'a>(
    into: &mut Vec<String>,
    head: &str,
    rows: impl IntoIterator<Item = Vec<Lit<'a>>>,
    tail: &str,
) {
    let mut statement = String::new();
    for row in rows {
        if statement.len() > STATEMENT_MAX {
            statement.push_str(tail);
            into.push(std::mem::take(&mut statement));
        }
        if statement.is_empty() {
            statement.push_str(head);
            statement.push_str(" VALUES (");
        } else {
            statement.push_str(", (");
        }
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                statement.push(',');
            }
            write(&mut statement, value);
        }
        statement.push(')');
    }
    if !statement.is_empty() {
        statement.push_str(tail);
        into.push(statement);
    }
}

fn write(sql: &mut String, value: &Lit<'_>) {
    match value {
        Lit::Null => sql.push_str("NULL"),
        Lit::Int(number) => sql.push_str(&number.to_string()),
        Lit::Id(id) => hex(sql, id),
        Lit::Bytes(bytes) if bytes.is_empty() => sql.push_str("''"),
        Lit::Bytes(bytes) => hex(sql, bytes),
        Lit::Text(text) if text.is_empty() => sql.push_str("''"),
        Lit::Text(text) => {
            sql.push_str("_utf8mb4 ");
            hex(sql, text.as_bytes());
        }
        Lit::Ints([]) | Lit::Ids([]) | Lit::Uuids([]) => sql.push_str("NULL"),
        Lit::Ints(numbers) => list(sql, numbers, |sql, number| sql.push_str(&number.to_string())),
        Lit::Ids(ids) => list(sql, ids, |sql, id| hex(sql, id.as_bytes())),
        Lit::Uuids(ids) => list(sql, ids, |sql, id| hex(sql, id.as_bytes())),
    }
}

fn list<T>(sql: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            sql.push(',');
        }
        write(sql, item);
    }
}

fn hex(sql: &mut String, bytes: &[u8]) {
    sql.reserve(2 * bytes.len() + 2);
    sql.push_str("0x");
    for byte in bytes {
        sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
        sql.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_given_is_read_as_sql() {
        let evil = "'; DROP TABLE tasks -- \u{e9}\0\\";
        let text = sql!(
            "SELECT * FROM t WHERE a = ? AND b = ? AND c IN (?)",
            evil,
            -7_i64,
            &[1_i64, 2][..]
        );
        assert_eq!(
            text,
            "SELECT * FROM t WHERE a = _utf8mb4 0x273b2044524f50205441424c45207461736b73202d2d20c3a9005c AND b = -7 AND c IN (1,2)"
        );
        let none: [TaskId; 0] = [];
        assert_eq!(
            sql!(
                "a = ? AND b = ? AND c = ? AND d IN (?)",
                "",
                &b""[..],
                None::<i64>,
                &none[..]
            ),
            "a = '' AND b = '' AND c = NULL AND d IN (NULL)"
        );
    }

    #[test]
    fn many_rows_go_into_as_many_statements_as_it_takes() {
        let large = vec![7_u8; STATEMENT_MAX];
        let mut all = Vec::new();
        insert(
            &mut all,
            "INSERT INTO t (a)",
            (0..3).map(|_| row![&large[..]]),
            " ON DUPLICATE KEY UPDATE a = a",
        );
        assert_eq!(all.len(), 3);
        assert!(
            all.iter()
                .all(|one| one.ends_with("0707) ON DUPLICATE KEY UPDATE a = a"))
        );
        all.clear();
        insert(
            &mut all,
            "INSERT INTO t (a, b)",
            (0..3_i64).map(|n| row![n, true]),
            "",
        );
        assert_eq!(all, ["INSERT INTO t (a, b) VALUES (0,1), (1,1), (2,1)"]);
        all.clear();
        insert(&mut all, "INSERT INTO t (a)", Vec::new(), "");
        assert!(all.is_empty());
    }
}
