-- Schema 4: delayed and expiring tasks, retries, and why tasks ran more than once.

ALTER TABLE tasks ADD COLUMN due_at INTEGER;                        -- not leased before; NULL once it is due
ALTER TABLE tasks ADD COLUMN expires_at INTEGER;                    -- not leased after, but revoked
ALTER TABLE tasks ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;    -- by the retry policy

-- What a lease walks, in order. A task to be retried (state 2) is queued as one that never ran (state 0) is. The last four
-- make it covering.
DROP INDEX tasks_queued;
CREATE INDEX tasks_queued ON tasks (model, turn, seq, weight, expires_at, state, due_at)
    WHERE state IN (0, 2) AND due_at IS NULL;

-- What waits for its time.
CREATE INDEX tasks_delayed ON tasks (model, due_at, weight) WHERE due_at IS NOT NULL;

-- What an expiry walks.
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE expires_at IS NOT NULL AND state IN (0, 2);

CREATE TABLE history (
    seq     INTEGER NOT NULL,                       -- tasks.seq
    attempt INTEGER NOT NULL,                       -- the attempt that ended without an outcome
    at      INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;
