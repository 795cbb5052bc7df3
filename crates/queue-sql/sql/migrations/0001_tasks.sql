-- Schema 1: tasks, their inputs and outcomes, and the ids of what has been purged.
--
-- Inputs and outcomes have tables of their own so that the rows a lease or a state change rewrites stay small.
-- Instants are microseconds since 1970 (UTC); states are the numbers that src/codec.rs names.

CREATE TABLE tasks (
    seq         INTEGER PRIMARY KEY,                -- the order of acceptance
    id          BLOB    NOT NULL CHECK (length(id) = 16),
    model       TEXT    NOT NULL,
    state       INTEGER NOT NULL,
    priority    INTEGER NOT NULL,
    weight      INTEGER NOT NULL,                   -- bytes the input weighs in the queue
    attempts    INTEGER NOT NULL,                   -- leases ever given; fences releases and outcomes
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,                            -- when last leased
    finished_at INTEGER,                            -- set exactly when the state is terminal
    version     TEXT,                               -- of the model that made the outcome
    metadata    BLOB
) STRICT;

CREATE UNIQUE INDEX tasks_by_id ON tasks (id);

-- What a lease walks, in order; `weight` makes it covering, so limits and counts never touch the table.
CREATE INDEX tasks_queued ON tasks (model, priority DESC, seq, weight) WHERE state = 0;

-- What a start after a crash gives back.
CREATE INDEX tasks_leased ON tasks (seq) WHERE state = 1;

-- What a purge walks.
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE inputs (
    seq   INTEGER PRIMARY KEY,                      -- tasks.seq
    kind  INTEGER NOT NULL,
    bytes BLOB    NOT NULL
) STRICT;

CREATE TABLE outcomes (
    seq   INTEGER PRIMARY KEY,                      -- tasks.seq
    kind  INTEGER NOT NULL,
    bytes BLOB    NOT NULL
) STRICT;

-- Ids whose tasks have been purged: they answer "expired" rather than "unknown" for a while.
CREATE TABLE tombstones (
    id        BLOB    PRIMARY KEY,
    purged_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_by_time ON tombstones (purged_at);
