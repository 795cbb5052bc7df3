-- Inserts nothing when the key is known.
INSERT INTO bulks (id, model, tenant, key, metadata, created_at, touched_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
ON CONFLICT (model, key) WHERE key IS NOT NULL DO NOTHING;
