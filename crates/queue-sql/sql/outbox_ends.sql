-- The place before the newest delivery that stands behind ?1, and the oldest one's: what a list has to look at.
SELECT (SELECT max(seq) FROM outbox WHERE seq < ?1), (SELECT min(seq) FROM outbox);
