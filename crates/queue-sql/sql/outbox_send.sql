-- Unless something else of its task is being sent.
UPDATE outbox SET state = 1, due_at = NULL, tries = tries + 1, fence = fence + 1
WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM outbox AS p WHERE p.task = outbox.task AND p.state = 1);
