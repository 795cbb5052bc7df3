SELECT t.model, t.state, t.priority, t.attempts, t.created_at, t.started_at, t.finished_at, t.version, t.metadata,
       o.kind, o.bytes, o.file, o.length, o.checksum, t.due_at, t.expires_at, t.retries, t.seq, t.replay_of,
       t.deadline_at, t.cached, t.retry, t.trace
FROM tasks AS t LEFT JOIN outcomes AS o ON o.seq = t.seq
WHERE t.id = ?1;
