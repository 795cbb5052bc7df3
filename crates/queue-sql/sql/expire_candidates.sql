-- Queued tasks that expired by ?1, longest ago first, at most ?2.
SELECT seq, id, model, weight, due_at IS NOT NULL, client FROM tasks
WHERE expires_at <= ?1 AND state IN (0, 2)
ORDER BY expires_at LIMIT ?2;
