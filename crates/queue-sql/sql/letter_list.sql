-- Newest first, behind ?1; of the tenant ?3 where it is given.
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence,
       coalesce(length, length(bytes)), tenant, retry
FROM letters WHERE seq < ?1 AND (?3 IS NULL OR tenant = ?3) ORDER BY seq DESC LIMIT ?2;
