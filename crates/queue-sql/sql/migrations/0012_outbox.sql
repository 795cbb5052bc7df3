-- Schema 12: whom to tell of a task, and what is to be told, was told or could not be.
--
-- Tables of their own: most tasks have no callback, and the rows that a lease rewrites stay small.

CREATE TABLE callbacks (
    seq    INTEGER PRIMARY KEY,                     -- tasks.seq
    url    TEXT    NOT NULL,
    host   TEXT    NOT NULL,                        -- name:port
    events INTEGER NOT NULL CHECK (events BETWEEN 1 AND 31)  -- a bit for each
) STRICT;

CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order of what happened; never reused, so that a list keeps its place
    task       BLOB    NOT NULL CHECK (length(task) = 16),  -- tasks.id: it outlives its task
    event      INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,                    -- 0 for an end
    model      TEXT    NOT NULL,
    url        TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    since      INTEGER NOT NULL,                    -- when it was first to be sent, or sent again by somebody
    state      INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    tries      INTEGER NOT NULL,
    fence      INTEGER NOT NULL,                    -- leases ever given
    due_at     INTEGER,                             -- set exactly while it waits
    settled_at INTEGER,                             -- set exactly when it is neither waiting nor being sent
    status     INTEGER,
    note       TEXT
) STRICT;

-- The name of what is told; and what else is told of a task.
CREATE UNIQUE INDEX outbox_by_name ON outbox (task, event, attempt);

-- What a lease walks, host by host.
CREATE INDEX outbox_due_by_host ON outbox (host, due_at) WHERE due_at IS NOT NULL;

-- When the next one is due.
CREATE INDEX outbox_due ON outbox (due_at) WHERE due_at IS NOT NULL;

-- How old the oldest is, and what a start counts.
CREATE INDEX outbox_open ON outbox (at, host) WHERE settled_at IS NULL;

-- What a purge walks.
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;

-- Addresses that want nothing more.
CREATE TABLE gone (
    url TEXT    PRIMARY KEY,
    at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX gone_by_time ON gone (at);
