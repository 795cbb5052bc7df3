SELECT t.id, t.attempts, t.priority, t.created_at, t.turn, i.kind, i.bytes, t.retries
FROM tasks AS t LEFT JOIN inputs AS i ON i.seq = t.seq
WHERE t.seq = ?1;
