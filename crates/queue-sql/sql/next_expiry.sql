-- When the next queued task expires, or the next leased one passes its deadline. Each is the first entry of an index.
SELECT min(at) FROM (
    SELECT min(expires_at) AS at FROM tasks WHERE expires_at IS NOT NULL AND state IN (0, 2)
    UNION ALL
    SELECT min(deadline_at) FROM tasks WHERE deadline_at IS NOT NULL AND state = 1
);
