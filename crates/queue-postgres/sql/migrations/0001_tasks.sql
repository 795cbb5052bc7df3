-- Schema 1: all that the store keeps, and which server owns it.
--
-- Instants are microseconds since 1970 (UTC); states are the numbers that cresset_queue::kit names. Inputs and outcomes have
-- tables of their own, so that the rows a lease or a change of state rewrites stay small. Names are compared byte by byte.

-- The server that owns the store, in one row. Every group of writes changes it, and only under its own epoch.
CREATE TABLE server (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch   bigint NOT NULL,                        -- counts owners
    commits bigint NOT NULL,                        -- counts the groups of this owner
    owner   uuid   NOT NULL,                        -- the owner's own number, by chance
    pid     integer NOT NULL,                       -- the database's process that holds its lock
    who     text   NOT NULL,                        -- for people
    since   bigint NOT NULL
);

CREATE TABLE tasks (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of acceptance
    id          uuid     NOT NULL,
    model       text     COLLATE "C" NOT NULL,
    state       smallint NOT NULL CHECK (state BETWEEN 0 AND 5),
    priority    smallint NOT NULL,
    turn        bigint   NOT NULL,                  -- its place in the queue: smaller goes first
    weight      bigint   NOT NULL,                  -- bytes the input weighs in the queue
    attempts    bigint   NOT NULL DEFAULT 0,        -- leases ever given; fences releases and outcomes
    retries     bigint   NOT NULL DEFAULT 0,        -- by the retry policy
    created_at  bigint   NOT NULL,
    due_at      bigint,                             -- not leased before; NULL once it is due
    expires_at  bigint,                             -- not leased after, but revoked
    deadline_at bigint,                             -- not held after, but revoked
    started_at  bigint,                             -- when last leased
    finished_at bigint,                             -- set exactly when the state is terminal
    cache       smallint NOT NULL CHECK (cache BETWEEN 0 AND 2),
    cached      boolean  NOT NULL DEFAULT false,
    version     text,                               -- of the model that made the outcome
    client      text     COLLATE "C",
    tenant      text     COLLATE "C",
    retry       text,                               -- RetryTerms as JSON
    trace       text,                               -- a traceparent and, behind a space, a tracestate
    replay_of   uuid,                               -- letters.id
    bulk        bigint,                             -- bulks.seq; NULL for a task that came alone
    line        bigint,                             -- from 0
    metadata    bytea
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX tasks_by_id ON tasks (id);

-- What a lease walks, in order. A task to be retried (state 2) is queued as one that never ran (state 0) is.
CREATE INDEX tasks_queued ON tasks (model, turn, seq) INCLUDE (weight, expires_at)
    WHERE state IN (0, 2) AND due_at IS NULL;

-- What waits for its time.
CREATE INDEX tasks_delayed ON tasks (model, due_at) INCLUDE (weight) WHERE due_at IS NOT NULL;

-- What a start after a crash gives back.
CREATE INDEX tasks_leased ON tasks (seq) WHERE state = 1;

-- What an expiry walks.
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE expires_at IS NOT NULL AND state IN (0, 2);
CREATE INDEX tasks_overdue ON tasks (deadline_at) WHERE deadline_at IS NOT NULL AND state = 1;

-- What a purge walks.
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;

-- What a start counts; nothing is in it while clients are not told apart.
CREATE INDEX tasks_by_client ON tasks (client) INCLUDE (weight) WHERE client IS NOT NULL AND state IN (0, 2);

-- Each line once, and what a reader of results walks; and what a bulk is counted by.
CREATE UNIQUE INDEX tasks_by_line ON tasks (bulk, line) WHERE bulk IS NOT NULL;
CREATE INDEX tasks_by_bulk ON tasks (bulk, state, finished_at) WHERE bulk IS NOT NULL;

CREATE TABLE inputs (
    seq   bigint   PRIMARY KEY,                     -- tasks.seq
    kind  smallint NOT NULL,
    bytes bytea    NOT NULL
);

CREATE TABLE outcomes (
    seq   bigint   PRIMARY KEY,                     -- tasks.seq
    kind  smallint NOT NULL,
    bytes bytea    NOT NULL
);

CREATE TABLE history (
    seq     bigint NOT NULL,                        -- tasks.seq
    attempt bigint NOT NULL,                        -- the attempt that ended without an outcome
    at      bigint NOT NULL,
    reason  text   NOT NULL,
    PRIMARY KEY (seq, attempt)
);

CREATE TABLE idempotency (
    model  text   COLLATE "C" NOT NULL,             -- each model has keys of its own
    key    text   COLLATE "C" NOT NULL,
    seq    bigint NOT NULL,                         -- tasks.seq
    digest bytea  NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (model, key)
);

-- What a purge looks up.
CREATE UNIQUE INDEX idempotency_by_task ON idempotency (seq);

-- Ids whose tasks have been purged: they answer "expired" rather than "unknown" for a while.
CREATE TABLE tombstones (
    id        uuid   PRIMARY KEY,
    purged_at bigint NOT NULL,
    tenant    text   COLLATE "C"
);

CREATE INDEX tombstones_by_time ON tombstones (purged_at);

-- Dead letters, each with the input of its task, which moves here when the task ends.
CREATE TABLE letters (
    seq         bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of dying
    id          uuid     NOT NULL,
    model       text     COLLATE "C" NOT NULL,
    version     text,                               -- of the model that died
    created_at  bigint   NOT NULL,                  -- of the task
    died_at     bigint   NOT NULL,
    priority    smallint NOT NULL,
    replayed_as uuid,                               -- the task that was made of it
    tenant      text     COLLATE "C",
    metadata    bytea,
    evidence    text     NOT NULL,                  -- JSON
    kind        smallint NOT NULL,
    bytes       bytea    NOT NULL
);

CREATE UNIQUE INDEX letters_by_id ON letters (id);
CREATE INDEX letters_by_model ON letters (model, seq);
CREATE INDEX letters_by_time ON letters (died_at);

-- A payload is compressed by nobody: who sends one has done it where it pays. Large ones are kept out of line, and a
-- part of one can be read.
ALTER TABLE inputs ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE outcomes ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE letters ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Whom to tell of a task, and what is to be told, was told or could not be.
CREATE TABLE callbacks (
    seq    bigint   PRIMARY KEY,                    -- tasks.seq
    url    text     NOT NULL,
    host   text     COLLATE "C" NOT NULL,           -- name:port
    events smallint NOT NULL CHECK (events BETWEEN 1 AND 31)  -- a bit for each
);

CREATE TABLE outbox (
    seq        bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of what happened
    task       uuid     NOT NULL,                   -- tasks.id: it outlives its task
    event      smallint NOT NULL,
    attempt    bigint   NOT NULL,                   -- 0 for an end
    model      text     COLLATE "C" NOT NULL,
    url        text     NOT NULL,
    host       text     COLLATE "C" NOT NULL,
    at         bigint   NOT NULL,
    since      bigint   NOT NULL,                   -- when it was first to be sent, or sent again by somebody
    state      smallint NOT NULL CHECK (state BETWEEN 0 AND 4),
    tries      bigint   NOT NULL,
    fence      bigint   NOT NULL,                   -- leases ever given
    due_at     bigint,                              -- set exactly while it waits
    settled_at bigint,                              -- set exactly when it is neither waiting nor being sent
    status     integer,
    note       text
);

CREATE UNIQUE INDEX outbox_by_name ON outbox (task, event, attempt);
CREATE INDEX outbox_due_by_host ON outbox (host, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_due ON outbox (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_open ON outbox (at) INCLUDE (host) WHERE settled_at IS NULL;
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;

-- Addresses that want nothing more.
CREATE TABLE gone (
    url text   PRIMARY KEY,
    at  bigint NOT NULL
);

CREATE INDEX gone_by_time ON gone (at);

-- Bulks: many tasks of one model that came in one request.
CREATE TABLE bulks (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of beginning
    id           uuid   NOT NULL,
    model        text   COLLATE "C" NOT NULL,
    tenant       text   COLLATE "C",
    key          text   COLLATE "C",                -- each model has keys of its own
    metadata     bytea,
    created_at   bigint NOT NULL,
    touched_at   bigint NOT NULL,                   -- when a line was last accepted, or it was begun
    accepted     bigint NOT NULL DEFAULT 0,         -- lines 0 up to this are there, or were
    wrong        bigint NOT NULL DEFAULT 0,         -- those of them that are no task
    total        bigint,                            -- NULL until the end has come
    cancelled_at bigint
);

CREATE UNIQUE INDEX bulks_by_id ON bulks (id);
CREATE UNIQUE INDEX bulks_by_key ON bulks (model, key) WHERE key IS NOT NULL;
CREATE INDEX bulks_touched ON bulks (touched_at);

-- Lines that are no task, and why.
CREATE TABLE bulk_wrong (
    bulk  bigint NOT NULL,                          -- bulks.seq
    line  bigint NOT NULL,
    error text   NOT NULL,
    PRIMARY KEY (bulk, line)
);
