SELECT seq, accepted, total, cancelled_at IS NOT NULL FROM bulks WHERE id = ?1;
