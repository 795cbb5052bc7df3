-- Only the newest ?2 are kept.
DELETE FROM history
WHERE seq = ?1 AND attempt <= (SELECT attempt FROM history WHERE seq = ?1 ORDER BY attempt DESC LIMIT 1 OFFSET ?2);
