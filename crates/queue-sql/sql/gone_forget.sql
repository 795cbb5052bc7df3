-- Addresses disabled before ?1, longest ago first, at most ?2.
DELETE FROM gone WHERE url IN (SELECT url FROM gone WHERE at < ?1 ORDER BY at LIMIT ?2);
