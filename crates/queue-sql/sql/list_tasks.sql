-- Newest first, behind ?1 and not behind ?2; of the model ?3, in the state ?4 and of the tenant ?6 where they are given.
SELECT seq, id, model, version, state, created_at, started_at, finished_at, due_at, attempts, retries, priority, metadata
FROM tasks
WHERE seq < ?1 AND seq >= ?2 AND (?3 IS NULL OR model = ?3) AND (?4 IS NULL OR state = ?4)
      AND (?6 IS NULL OR tenant = ?6)
ORDER BY seq DESC LIMIT ?5;
