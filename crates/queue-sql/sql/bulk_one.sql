SELECT seq, id, model, tenant, metadata, created_at, accepted, wrong, total, cancelled_at FROM bulks WHERE id = ?1;
