UPDATE tasks SET state = 5, finished_at = ?2, due_at = NULL WHERE seq = ?1;
