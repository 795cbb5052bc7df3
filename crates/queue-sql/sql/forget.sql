-- Tombstones laid before ?1, oldest first, at most ?2 of them.
DELETE FROM tombstones
WHERE id IN (SELECT id FROM tombstones WHERE purged_at < ?1 ORDER BY purged_at LIMIT ?2);
