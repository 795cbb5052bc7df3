DELETE FROM inputs WHERE seq = ?1;
