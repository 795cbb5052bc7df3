-- The index covers it.
SELECT host, count(*) FROM outbox WHERE settled_at IS NULL GROUP BY host;
