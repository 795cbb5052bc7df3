-- Finished tasks that ended before ?1, longest ago first.
SELECT t.seq, t.weight + coalesce(o.length, length(o.bytes), 0), i.file, o.file
FROM tasks AS t
LEFT JOIN inputs AS i ON i.seq = t.seq
LEFT JOIN outcomes AS o ON o.seq = t.seq
WHERE t.finished_at < ?1
ORDER BY t.finished_at LIMIT ?2;
