SELECT settled_at IS NULL FROM outbox WHERE seq = ?1;
