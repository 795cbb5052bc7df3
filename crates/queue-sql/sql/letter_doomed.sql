-- Letters that died before ?1, of the model ?2 and the tenant ?4 unless they are NULL, the oldest first.
SELECT seq, coalesce(length, length(bytes)), file FROM letters
WHERE died_at < ?1 AND (?2 IS NULL OR model = ?2) AND (?4 IS NULL OR tenant = ?4)
ORDER BY died_at LIMIT ?3;
