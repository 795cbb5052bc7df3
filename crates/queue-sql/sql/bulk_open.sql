SELECT id FROM tasks WHERE bulk = (SELECT seq FROM bulks WHERE id = ?1) AND state IN (0, 1, 2) LIMIT ?2;
