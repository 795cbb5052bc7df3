-- Whose the task is, or was before it was purged. The task first: a purge in between is seen as the purge it is.
SELECT tenant FROM tasks WHERE id = ?1
UNION ALL
SELECT tenant FROM tombstones WHERE id = ?1
LIMIT 1;
