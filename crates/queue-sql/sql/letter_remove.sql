DELETE FROM letters WHERE seq = ?1;
