-- Leases end with the process that held them; numbers stay counted.
UPDATE outbox SET state = 0, due_at = ?1 WHERE settled_at IS NULL AND state = 1;
