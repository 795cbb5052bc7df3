UPDATE tasks SET replay_of = ?2 WHERE id = ?1;
