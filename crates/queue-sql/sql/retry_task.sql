UPDATE tasks SET state = 2, due_at = ?2, retries = retries + 1, attempts = attempts + ?3 WHERE seq = ?1;
