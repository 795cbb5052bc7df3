-- What is due for the host ?1 by ?2, at most ?3; nothing of a task of which something is being sent.
SELECT seq, task, event, attempt, model, url, at, since, tries, fence FROM outbox AS o
WHERE host = ?1 AND due_at <= ?2
  AND NOT EXISTS (SELECT 1 FROM outbox AS p WHERE p.task = o.task AND p.state = 1)
ORDER BY due_at, seq LIMIT ?3;
