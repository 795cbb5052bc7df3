-- Inserts nothing when the id is taken, by a task or by the memory of one. One that runs since ?16 is leased.
INSERT INTO tasks (id, model, state, priority, weight, attempts, created_at, metadata, turn, due_at, expires_at, client,
                   deadline_at, cache, retry, tenant, trace, started_at)
SELECT ?1, ?2, ?16 IS NOT NULL, ?3, ?4, ?16 IS NOT NULL, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16
WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = ?1)
ON CONFLICT (id) DO NOTHING;
