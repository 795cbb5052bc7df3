-- Whether a task's input or outcome, or a letter's input, is in the file ?2.
SELECT 1
FROM tasks AS t
LEFT JOIN inputs AS i ON i.seq = t.seq
LEFT JOIN outcomes AS o ON o.seq = t.seq
WHERE t.id = ?1 AND (i.file = ?2 OR o.file = ?2)
UNION ALL
SELECT 1 FROM letters WHERE id = ?1 AND file = ?2;
