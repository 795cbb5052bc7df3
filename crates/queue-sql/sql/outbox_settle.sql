UPDATE outbox SET state = ?2, due_at = ?3, settled_at = ?4, status = ?5, note = ?6 WHERE seq = ?1;
