//! Inputs and outcomes: in parts that each fit into a packet, however large they are.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use cresset_queue::kit::{Stored, as_number};
use cresset_task::TaskId;
use mysql_async::{Params, Value};

use crate::connect::Answer;
use crate::error::{StoreError, id, small, take};
use crate::sql::{insert, row, sql};
use crate::tx::Tx;

/// What has at most so many bytes goes along with the statements of its group.
const INLINE_MAX: usize = 64 * 1024;

/// A part has at most so many bytes: few enough for the packets and the log of any database that is used.
pub(crate) const PART_MAX: usize = 4 * 1024 * 1024;

/// Where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Inputs,
    Outcomes,
}

impl Table {
    fn head(self) -> &'static str {
        match self {
            Self::Inputs => "INSERT INTO inputs (id, part, kind, size, bytes)",
            Self::Outcomes => "INSERT INTO outcomes (id, part, kind, size, bytes)",
        }
    }
}

/// Keeps all of these: the small ones with what the transaction does later, the large ones now.
pub(crate) async fn keep(tx: &mut Tx<'_>, table: Table, all: &[(TaskId, &Stored)]) -> Result<(), StoreError> {
    let doing = "cannot keep a payload";
    let is_small = |stored: &Stored| stored.bytes.len() <= INLINE_MAX;
    let small = all.iter().filter(|(_, stored)| is_small(stored));
    let rows = small.map(|(id, stored)| {
        row![
            *id,
            0_i64,
            stored.kind,
            as_number(stored.bytes.len()),
            &stored.bytes[..]
        ]
    });
    let mut statements = Vec::new();
    insert(&mut statements, table.head(), rows, "");
    tx.later(doing, statements);
    for (id, stored) in all.iter().filter(|(_, stored)| !is_small(stored)) {
        for (part, bytes) in stored.bytes.chunks(PART_MAX).enumerate() {
            let values = vec![
                Value::from(id.as_bytes()),
                as_number(part).into(),
                stored.kind.into(),
                as_number(bytes.len()).into(),
                bytes.into(),
            ];
            let sql = format!("{} VALUES (?, ?, ?, ?, ?)", table.head());
            tx.put(doing, &sql, Params::Positional(values)).await?;
        }
    }
    Ok(())
}

/// A statement that gives them to [`parts`].
pub(crate) fn asked(table: Table, ids: &[TaskId]) -> String {
    match table {
        Table::Inputs => sql!("SELECT id, part, kind, bytes FROM inputs WHERE id IN (?)", ids),
        Table::Outcomes => sql!("SELECT id, part, kind, bytes FROM outcomes WHERE id IN (?)", ids),
    }
}

/// What there is of each, put together; nothing of one that lacks a part.
pub(crate) fn parts(answer: Answer) -> Result<HashMap<TaskId, Stored>, StoreError> {
    let mut found: HashMap<TaskId, (u8, Vec<(u32, Bytes)>)> = HashMap::new();
    for mut row in answer.rows {
        let (id, part, kind) = (id(&row, 0)?, small(&row, 1)?, small(&row, 2)?);
        let bytes = take(&mut row, 3).unwrap_or_default();
        found
            .entry(id)
            .or_insert((kind, Vec::new()))
            .1
            .push((part, bytes));
    }
    let stored = |(id, (kind, mut parts)): (TaskId, (u8, Vec<(u32, Bytes)>))| {
        parts.sort_by_key(|(part, _)| *part);
        if parts.iter().zip(0..).any(|((part, _), at)| *part != at) {
            return None;
        }
        let bytes = match parts.len() {
            1 => parts.pop().map(|(_, bytes)| bytes).unwrap_or_default(),
            _ => parts.into_iter().fold(BytesMut::new(), joined).freeze(),
        };
        Some((id, Stored { kind, bytes }))
    };
    Ok(found.into_iter().filter_map(stored).collect())
}

fn joined(mut all: BytesMut, (_, part): (u32, Bytes)) -> BytesMut {
    all.extend_from_slice(&part);
    all
}
