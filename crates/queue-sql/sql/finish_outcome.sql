INSERT INTO outcomes (seq, kind, bytes) VALUES (?1, ?2, ?3);
