SELECT seq, replayed_as FROM letters WHERE id = ?1;
