-- Leases end with the process that held them; attempts stay counted.
UPDATE tasks SET state = 0 WHERE state = 1;
