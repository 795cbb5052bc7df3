-- Newest first, behind ?1, of the tenant ?2 where it is given.
SELECT seq, id, model, tenant, metadata, created_at, accepted, wrong, total, cancelled_at FROM bulks
WHERE seq < ?1 AND (?2 IS NULL OR tenant = ?2)
ORDER BY seq DESC LIMIT ?3;
