SELECT seq, coalesce(length, length(bytes)), file FROM letters WHERE id = ?1;
