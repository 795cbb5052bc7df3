-- Inserts nothing when the id is taken, by a task or by the memory of one.
INSERT INTO tasks (id, model, state, priority, weight, attempts, created_at, metadata, turn, due_at, expires_at, client,
                   deadline_at, cache, retry, tenant, trace)
SELECT ?1, ?2, 0, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15
WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE id = ?1)
ON CONFLICT (id) DO NOTHING;
