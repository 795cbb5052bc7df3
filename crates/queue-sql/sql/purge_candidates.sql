-- Finished tasks that ended before ?1, longest ago first.
SELECT t.seq, t.id, t.weight + coalesce(length(o.bytes), 0)
FROM tasks AS t LEFT JOIN outcomes AS o ON o.seq = t.seq
WHERE t.finished_at < ?1
ORDER BY t.finished_at LIMIT ?2;
