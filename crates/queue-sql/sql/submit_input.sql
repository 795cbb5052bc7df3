INSERT INTO inputs (seq, kind, bytes) VALUES (?1, ?2, ?3);
