UPDATE bulks SET total = accepted WHERE seq = ?1;
