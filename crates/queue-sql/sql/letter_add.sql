-- The letter of the task ?1, with its input.
INSERT INTO letters (id, model, version, created_at, died_at, priority, metadata, evidence, tenant, retry,
                     kind, file, length, checksum, bytes)
SELECT t.id, t.model, t.version, t.created_at, t.finished_at, t.priority, t.metadata, ?2, t.tenant, t.retry,
       i.kind, i.file, i.length, i.checksum, i.bytes
FROM tasks AS t JOIN inputs AS i ON i.seq = t.seq
WHERE t.seq = ?1;
