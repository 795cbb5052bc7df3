UPDATE tasks SET bulk = ?2, line = ?3 WHERE id = ?1;
