-- Schema 3: a task's place in its queue, fixed when it is accepted: the instant of acceptance in microseconds, less what
-- its priority is worth. Smaller goes first.
--
-- Before, a higher priority went first however old the others were. What was queued then gets the place that it would have
-- got with a tenth of a second a point, the default. Finished tasks have none.

ALTER TABLE tasks ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

UPDATE tasks SET turn = created_at - priority * 100000 WHERE state IN (0, 1);

-- What a lease walks, in order; `weight` makes it covering, so limits and counts never touch the table.
DROP INDEX tasks_queued;
CREATE INDEX tasks_queued ON tasks (model, turn, seq, weight) WHERE state = 0;
