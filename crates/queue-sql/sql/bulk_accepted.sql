UPDATE bulks SET accepted = accepted + ?2, wrong = wrong + ?3, touched_at = max(touched_at, ?4) WHERE seq = ?1;
