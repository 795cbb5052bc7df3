-- Schema 9: what a task's submitter allows a result cache to do, and whether its result is from one.

ALTER TABLE tasks ADD COLUMN cache INTEGER NOT NULL DEFAULT 0 CHECK (cache BETWEEN 0 AND 2);  -- CacheUse
ALTER TABLE tasks ADD COLUMN cached INTEGER NOT NULL DEFAULT 0 CHECK (cached BETWEEN 0 AND 1);
