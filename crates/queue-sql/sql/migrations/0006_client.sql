-- Schema 6: whose a task is, so that what a client has queued is known after a restart too.

ALTER TABLE tasks ADD COLUMN client TEXT;                           -- NULL when clients are not told apart

-- What a start counts; nothing is in it while clients are not told apart.
CREATE INDEX tasks_by_client ON tasks (client, weight) WHERE client IS NOT NULL AND state IN (0, 2);
