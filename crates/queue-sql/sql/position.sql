-- How many go before a queued task: those of an earlier turn, then those of its own that came before; counted up to ?2.
-- A range of one index, cut off, so a long queue costs no more than the cut.
WITH me AS (SELECT model, turn, seq FROM tasks WHERE id = ?1 AND state IN (0, 2) AND due_at IS NULL)
SELECT (SELECT count(*) FROM (
    SELECT 1 FROM tasks AS t
    WHERE t.state IN (0, 2) AND t.due_at IS NULL AND t.model = me.model AND (t.turn, t.seq) < (me.turn, me.seq)
    LIMIT ?2))
FROM me;
