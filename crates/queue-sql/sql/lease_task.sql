UPDATE tasks SET state = 1, attempts = ?2, started_at = ?3 WHERE seq = ?1;
