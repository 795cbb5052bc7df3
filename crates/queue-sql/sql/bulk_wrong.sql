INSERT INTO bulk_wrong (bulk, line, error) VALUES (?1, ?2, ?3);
