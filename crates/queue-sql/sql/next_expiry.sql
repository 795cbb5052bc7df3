SELECT min(expires_at) FROM tasks WHERE expires_at IS NOT NULL AND state IN (0, 2);
