-- When the next one is due, and when the oldest happened. Each is the first entry of an index.
SELECT (SELECT min(due_at) FROM outbox WHERE due_at IS NOT NULL), (SELECT min(at) FROM outbox WHERE settled_at IS NULL);
