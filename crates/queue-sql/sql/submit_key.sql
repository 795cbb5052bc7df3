INSERT INTO idempotency (model, key, seq, digest) VALUES (?1, ?2, ?3, ?4);
