-- The fence: only under the number that holds the lease. And whether something of the task came later.
SELECT seq, host, url, EXISTS (SELECT 1 FROM outbox AS l WHERE l.task = o.task AND l.seq > o.seq)
FROM outbox AS o
WHERE task = ?1 AND event = ?2 AND attempt = ?3 AND state = 1 AND fence = ?4;
