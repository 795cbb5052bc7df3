UPDATE letters SET replayed_as = ?2 WHERE seq = ?1;
