-- The head of a model's queue, from the index alone.
SELECT seq, weight FROM tasks WHERE state = 0 AND model = ?1 ORDER BY turn, seq LIMIT ?2;
