UPDATE tasks SET state = ?2, finished_at = ?3, version = ?4, attempts = attempts + ?5, cached = ?6
WHERE seq = ?1;
