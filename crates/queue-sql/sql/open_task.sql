SELECT seq, model, weight, state, due_at IS NOT NULL, client FROM tasks WHERE id = ?1;
