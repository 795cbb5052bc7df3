-- How many go before a queued task: those of higher priority, then the earlier ones of its own; counted up to ?2.
-- Two ranges of one index, each cut off, so a long queue costs no more than the cut.
WITH me AS (SELECT model, priority, seq FROM tasks WHERE id = ?1 AND state IN (0, 2) AND due_at IS NULL)
SELECT min(
    ?2,
    (SELECT count(*) FROM (
        SELECT 1 FROM tasks AS t
        WHERE t.state IN (0, 2) AND t.due_at IS NULL AND t.model = me.model AND t.priority > me.priority LIMIT ?2))
    + (SELECT count(*) FROM (
        SELECT 1 FROM tasks AS t
        WHERE t.state IN (0, 2) AND t.due_at IS NULL
          AND t.model = me.model AND t.priority = me.priority AND t.seq < me.seq LIMIT ?2)))
FROM me;
