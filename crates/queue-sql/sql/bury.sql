INSERT INTO tombstones (id, purged_at) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET purged_at = excluded.purged_at;
