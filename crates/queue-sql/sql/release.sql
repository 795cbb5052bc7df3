UPDATE tasks SET state = 0 WHERE seq = ?1;
