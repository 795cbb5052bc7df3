//! The list of tasks.

use cresset_task::{TaskRecord, TaskSummary};

use super::tables::{Tables, Task};
use crate::{TASKS_MAX, TaskCursor, TaskPage, TaskQuery};

impl Tables {
    pub(super) fn list(&self, query: &TaskQuery) -> TaskPage {
        let limit = query.limit.clamp(1, TASKS_MAX);
        let before = query.after.map_or(u64::MAX, |TaskCursor(place)| place);
        let is_meant = |task: &Task| {
            let record = &task.record;
            query
                .tenant
                .as_ref()
                .is_none_or(|tenant| task.tenant.as_ref() == Some(tenant))
                && query.model.as_ref().is_none_or(|model| record.model == *model)
                && query.state.is_none_or(|state| record.state == state)
        };
        let mut found = (self.tasks.range(..before).rev()).filter(|(_, task)| is_meant(task));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let last = page.last().map(|(seq, _)| TaskCursor(**seq));
        TaskPage {
            next: last.filter(|_| found.next().is_some()),
            tasks: page.into_iter().map(|(_, task)| summary(&task.record)).collect(),
        }
    }
}

fn summary(record: &TaskRecord) -> TaskSummary {
    TaskSummary {
        id: record.id,
        model: record.model.clone(),
        version: record.version.clone(),
        state: record.state,
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        due_at: record.due_at,
        attempts: record.attempts,
        retries: record.retries,
        priority: record.priority,
        metadata: record.metadata.clone(),
    }
}
