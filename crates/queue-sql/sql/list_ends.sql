-- The place before the newest task that stands behind ?1, and the oldest task's: what a list has to look at.
SELECT (SELECT max(seq) FROM tasks WHERE seq < ?1), (SELECT min(seq) FROM tasks);
