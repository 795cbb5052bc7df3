-- Schema 4: how the task of a dead letter was to be tried again, for its replay. Those that were left before have none.

ALTER TABLE letters ADD COLUMN retry text;          -- as in tasks
