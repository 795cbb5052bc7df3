-- Of those that have no task left and were touched before ?1, at most ?2 lines.
DELETE FROM bulk_wrong WHERE (bulk, line) IN (
    SELECT w.bulk, w.line FROM bulks AS b JOIN bulk_wrong AS w ON w.bulk = b.seq
    WHERE b.touched_at < ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.bulk = b.seq)
    LIMIT ?2
);
