-- Newest first, behind ?1, of the task ?2; in the state ?3 and to the host ?4 where they are given.
SELECT seq, task, event, attempt, model, url, at, state, tries, due_at, settled_at, status, note
FROM outbox
WHERE seq < ?1 AND task = ?2 AND (?3 IS NULL OR state = ?3) AND (?4 IS NULL OR host = ?4)
ORDER BY seq DESC LIMIT ?5;
