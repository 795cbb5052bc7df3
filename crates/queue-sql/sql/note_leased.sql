-- Why those that were leased when their process ended run again.
INSERT INTO history (seq, attempt, at, reason)
SELECT seq, attempts, ?1, ?2 FROM tasks WHERE state = 1
ON CONFLICT (seq, attempt) DO NOTHING;
