DELETE FROM callbacks WHERE seq = ?1;
