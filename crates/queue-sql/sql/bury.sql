INSERT INTO tombstones (id, purged_at, tenant) SELECT id, ?2, tenant FROM tasks WHERE seq = ?1
ON CONFLICT (id) DO UPDATE SET purged_at = excluded.purged_at, tenant = excluded.tenant;
