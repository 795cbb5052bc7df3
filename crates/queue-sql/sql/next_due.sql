SELECT min(due_at) FROM tasks WHERE model = ?1 AND due_at IS NOT NULL;
