DELETE FROM idempotency WHERE seq = ?1;
