-- The head of a model's queue, from the index alone.
SELECT seq, weight FROM tasks WHERE state = 0 AND model = ?1 ORDER BY priority DESC, seq LIMIT ?2;
