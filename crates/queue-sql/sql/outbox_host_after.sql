-- The first host behind ?1 for which something waits.
SELECT min(host) FROM outbox WHERE due_at IS NOT NULL AND host > ?1;
