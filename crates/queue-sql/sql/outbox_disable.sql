-- All that waits for an address.
UPDATE outbox SET state = 4, due_at = NULL, settled_at = ?3, note = ?4
WHERE host = ?1 AND due_at IS NOT NULL AND url = ?2;
