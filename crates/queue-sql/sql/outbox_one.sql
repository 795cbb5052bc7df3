SELECT seq, state, host, url, settled_at IS NULL FROM outbox WHERE task = ?1 AND event = ?2 AND attempt = ?3;
