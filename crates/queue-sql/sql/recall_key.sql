-- The task that a key of a model made, and the digest it was made with.
SELECT k.digest, t.id, t.state, t.created_at
FROM idempotency AS k JOIN tasks AS t ON t.seq = k.seq
WHERE k.model = ?1 AND k.key = ?2;
