-- The head of a model's queue, from the index alone: at most ?2 that have not expired by ?3.
SELECT seq, weight FROM tasks
WHERE state IN (0, 2) AND due_at IS NULL AND model = ?1 AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY turn, seq LIMIT ?2;
