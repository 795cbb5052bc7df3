-- Leased tasks whose deadline has passed by ?1, longest ago first, at most ?2.
SELECT seq, id, model, weight, FALSE, client FROM tasks
WHERE deadline_at <= ?1 AND state = 1
ORDER BY deadline_at LIMIT ?2;
