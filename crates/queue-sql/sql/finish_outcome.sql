INSERT INTO outcomes (seq, kind, bytes, file, length, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
