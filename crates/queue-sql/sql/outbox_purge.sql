-- Settled before ?1, longest ago first, at most ?2.
DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE settled_at < ?1 ORDER BY settled_at LIMIT ?2);
