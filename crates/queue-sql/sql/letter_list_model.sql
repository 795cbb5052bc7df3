-- Newest first, behind ?1, of the model ?3; of the tenant ?4 where it is given.
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence,
       coalesce(length, length(bytes)), tenant, retry
FROM letters WHERE seq < ?1 AND model = ?3 AND (?4 IS NULL OR tenant = ?4) ORDER BY seq DESC LIMIT ?2;
