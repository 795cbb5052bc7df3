-- Schema 13: bulks, many tasks of one model that came in one request, and which line of which bulk a task is.

CREATE TABLE bulks (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of beginning; never reused, so that a list keeps its place
    id           BLOB    NOT NULL CHECK (length(id) = 16),
    model        TEXT    NOT NULL,
    tenant       TEXT,
    key          TEXT,                              -- each model has keys of its own
    metadata     BLOB,
    created_at   INTEGER NOT NULL,
    touched_at   INTEGER NOT NULL,                  -- when a line was last accepted, or it was begun
    accepted     INTEGER NOT NULL DEFAULT 0,        -- lines 0 up to this are there, or were
    wrong        INTEGER NOT NULL DEFAULT 0,        -- those of them that are no task
    total        INTEGER,                           -- NULL until the end has come
    cancelled_at INTEGER
) STRICT;

CREATE UNIQUE INDEX bulks_by_id ON bulks (id);

-- One key, one bulk.
CREATE UNIQUE INDEX bulks_by_key ON bulks (model, key) WHERE key IS NOT NULL;

-- What a purge walks.
CREATE INDEX bulks_touched ON bulks (touched_at);

-- Lines that are no task, and why.
CREATE TABLE bulk_wrong (
    bulk  INTEGER NOT NULL,                         -- bulks.seq
    line  INTEGER NOT NULL,
    error TEXT    NOT NULL,
    PRIMARY KEY (bulk, line)
) STRICT, WITHOUT ROWID;

ALTER TABLE tasks ADD COLUMN bulk INTEGER;          -- bulks.seq; NULL for a task that came alone
ALTER TABLE tasks ADD COLUMN line INTEGER;          -- from 0

-- Each line once, and what a reader of results walks; tasks that came alone are in neither.
CREATE UNIQUE INDEX tasks_by_line ON tasks (bulk, line) WHERE bulk IS NOT NULL;

-- What a bulk is counted by, without a look at its tasks.
CREATE INDEX tasks_by_bulk ON tasks (bulk, state, finished_at) WHERE bulk IS NOT NULL;
