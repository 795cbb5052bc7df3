SELECT line, id FROM tasks WHERE bulk = ?1 AND line >= ?2 AND line < ?3 ORDER BY line;
