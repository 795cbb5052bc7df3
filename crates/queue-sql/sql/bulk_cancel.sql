-- The first one stays.
UPDATE bulks SET cancelled_at = coalesce(cancelled_at, ?2) WHERE id = ?1;
