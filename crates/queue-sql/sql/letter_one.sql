SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence,
       coalesce(length, length(bytes)), tenant, retry
FROM letters WHERE id = ?1;
