-- What a newer event of the same task takes the place of.
DELETE FROM outbox WHERE task = ?1 AND state = 0;
