DELETE FROM outcomes WHERE seq = ?1;
