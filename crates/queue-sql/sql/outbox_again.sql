UPDATE outbox SET state = 0, tries = 0, since = ?2, due_at = ?2, settled_at = NULL WHERE seq = ?1;
