-- Schema 2: the idempotency keys of submits, each as long as its task.
--
-- A table of its own: most tasks have no key, and the rows that a lease rewrites stay small. The primary key decides which
-- of two submits with one key makes the task.

CREATE TABLE idempotency (
    model  TEXT    NOT NULL,                        -- each model has keys of its own
    key    TEXT    NOT NULL,
    seq    INTEGER NOT NULL,                        -- tasks.seq
    digest BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;

-- What a purge looks up.
CREATE UNIQUE INDEX idempotency_by_task ON idempotency (seq);
