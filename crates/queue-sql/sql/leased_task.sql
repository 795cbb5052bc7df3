-- The fence: only under the attempt that holds the lease.
SELECT seq, model, weight, client FROM tasks WHERE id = ?1 AND state = 1 AND attempts = ?2;
