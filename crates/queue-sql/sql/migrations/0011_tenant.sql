-- Schema 11: whose tasks are whose, where callers are told apart by keys; NULL where they are not.

ALTER TABLE tasks ADD COLUMN tenant TEXT;
ALTER TABLE letters ADD COLUMN tenant TEXT;                         -- as that of its task
ALTER TABLE tombstones ADD COLUMN tenant TEXT;                      -- likewise
