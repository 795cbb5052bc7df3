SELECT t.id, t.attempts, t.priority, t.created_at, t.turn, t.retries, t.client, i.kind, i.bytes, i.file, i.length, i.checksum,
       t.cache, t.retry, t.trace
FROM tasks AS t LEFT JOIN inputs AS i ON i.seq = t.seq
WHERE t.seq = ?1;
