-- Newest first, behind ?1, of the model ?3.
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence,
       coalesce(length, length(bytes))
FROM letters WHERE seq < ?1 AND model = ?3 ORDER BY seq DESC LIMIT ?2;
