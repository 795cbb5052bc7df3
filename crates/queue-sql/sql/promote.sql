-- Delayed tasks of a model that are due by ?2, at most ?3, take their places in its queue.
UPDATE tasks SET due_at = NULL
WHERE seq IN (SELECT seq FROM tasks WHERE model = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3);
