INSERT INTO history (seq, attempt, at, reason) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (seq, attempt) DO NOTHING;
