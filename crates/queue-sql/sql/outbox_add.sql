-- Waiting, or disabled at once where the address wants nothing more.
INSERT INTO outbox (task, event, attempt, model, url, host, at, since, state, tries, fence, due_at, settled_at, note)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7,
       CASE WHEN g.url IS NULL THEN 0 ELSE 4 END, 0, 0,
       CASE WHEN g.url IS NULL THEN ?7 END,
       CASE WHEN g.url IS NOT NULL THEN ?7 END,
       CASE WHEN g.url IS NOT NULL THEN ?8 END
FROM (SELECT 1) LEFT JOIN gone AS g ON g.url = ?5
WHERE TRUE
ON CONFLICT (task, event, attempt) DO NOTHING;
