INSERT INTO callbacks (seq, url, host, events) VALUES (?1, ?2, ?3, ?4);
