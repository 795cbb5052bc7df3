SELECT seq, model, weight, state, due_at IS NOT NULL FROM tasks WHERE id = ?1;
