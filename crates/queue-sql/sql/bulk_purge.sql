-- Those that have no task and no line left and were touched before ?1, at most ?2.
DELETE FROM bulks WHERE seq IN (
    SELECT b.seq FROM bulks AS b
    WHERE b.touched_at < ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.bulk = b.seq)
          AND NOT EXISTS (SELECT 1 FROM bulk_wrong AS w WHERE w.bulk = b.seq)
    LIMIT ?2
);
