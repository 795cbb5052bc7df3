-- Schema 8: a deadline for the whole life of a task.

ALTER TABLE tasks ADD COLUMN deadline_at INTEGER;                   -- not held after, but revoked

-- What an expiry walks beside the queued tasks: those that are leased.
CREATE INDEX tasks_overdue ON tasks (deadline_at) WHERE deadline_at IS NOT NULL AND state = 1;
