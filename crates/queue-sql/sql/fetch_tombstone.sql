SELECT 1 FROM tombstones WHERE id = ?1;
