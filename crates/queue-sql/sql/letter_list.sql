-- Newest first, behind ?1.
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence,
       coalesce(length, length(bytes))
FROM letters WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2;
