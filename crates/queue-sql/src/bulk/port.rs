//! Bulks as their callers hold them.

use async_trait::async_trait;
use bytes::Bytes;
use cresset_queue::kit::Content;
use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::{
    Bulk, BulkAdded, BulkFound, BulkLine, BulkMade, BulkPage, BulkQuery, BulkSealed, Bulks, NewBulk,
    QueueError, check_lines,
};
use cresset_task::{BulkId, Ownership, Payload, TaskId, Timestamp};

use super::op::{BulkOp, Line};
use super::read::BulkRead;
use crate::error::StoreError;
use crate::files::Part;
use crate::op::{Op, Slot, Submission};
use crate::reader::Read;
use crate::store::SqliteStore;

#[async_trait]
impl Bulks for SqliteStore {
    async fn bulk_make(&self, new: NewBulk) -> Result<BulkMade, QueueError> {
        let (slot, reply) = Slot::new();
        self.write("bulk_make", Op::Bulk(BulkOp::Make { new, slot }), reply)
            .await
    }

    async fn bulk_add(
        &self,
        id: BulkId,
        first: u64,
        lines: Vec<BulkLine>,
        now: Timestamp,
    ) -> Result<BulkAdded, QueueError> {
        check_lines(&lines)?;
        let lines = self.placed_lines(lines).await?;
        let (slot, reply) = Slot::new();
        let add = BulkOp::Add {
            id,
            first,
            lines,
            now,
            slot,
        };
        self.write("bulk_add", Op::Bulk(add), reply).await
    }

    async fn bulk_seal(&self, id: BulkId, total: u64) -> Result<BulkSealed, QueueError> {
        let (slot, reply) = Slot::new();
        self.write("bulk_seal", Op::Bulk(BulkOp::Seal { id, total, slot }), reply)
            .await
    }

    async fn bulk_cancel(&self, id: BulkId, now: Timestamp) -> Result<bool, QueueError> {
        let (slot, reply) = Slot::new();
        self.write("bulk_cancel", Op::Bulk(BulkOp::Cancel { id, now, slot }), reply)
            .await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, QueueError> {
        self.read("bulk", |reply| Read::Bulk(BulkRead::One { id, reply }))
            .await
    }

    async fn bulk_owner(&self, id: BulkId) -> Result<Ownership, QueueError> {
        self.read("bulk_owner", |reply| Read::Bulk(BulkRead::Owner { id, reply }))
            .await
    }

    async fn bulk_lines(&self, id: BulkId, from: u64, limit: usize) -> Result<Vec<BulkFound>, QueueError> {
        self.read("bulk_lines", |reply| {
            Read::Bulk(BulkRead::Lines {
                id,
                from,
                limit,
                reply,
            })
        })
        .await
    }

    async fn bulk_open(&self, id: BulkId, limit: usize) -> Result<Vec<TaskId>, QueueError> {
        self.read("bulk_open", |reply| {
            Read::Bulk(BulkRead::Open { id, limit, reply })
        })
        .await
    }

    async fn bulks(&self, query: BulkQuery) -> Result<BulkPage, QueueError> {
        self.read("bulks", |reply| Read::Bulk(BulkRead::List { query, reply }))
            .await
    }
}

impl SqliteStore {
    /// The lines with their inputs where their rows will have them: one visit to a blocking thread for all that are large.
    async fn placed_lines(&self, lines: Vec<BulkLine>) -> Result<Vec<Line>, QueueError> {
        let (mut heads, mut contents) = (Vec::with_capacity(lines.len()), Vec::new());
        for line in lines {
            heads.push(match line {
                BulkLine::Wrong(error) => Err(error),
                BulkLine::Task(mut task) => {
                    task.idempotency = None;
                    let payload = std::mem::replace(&mut task.payload, Payload::Json(Bytes::new()));
                    let weight = payload.weight();
                    contents.push((task.id, Content::Payload(payload)));
                    Ok((task, weight))
                }
            });
        }
        let mut inputs = self.place("bulk_add", Part::Input, contents).await?.into_iter();
        let line = |head| match head {
            Err(error) => Ok(Line::Wrong(error)),
            Ok((task, weight)) => {
                let input = inputs.next().ok_or_else(|| self.ended("bulk_add"))?;
                let task: Box<cresset_queue::NewTask> = task;
                let submission = Submission::new(*task, weight, input);
                Ok(Line::Task(Box::new(
                    submission.map_err(|e| StoreError::from(e).into_queue("bulk_add"))?,
                )))
            }
        };
        heads.into_iter().map(line).collect()
    }
}
