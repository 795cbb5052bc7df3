-- Schema 1: all that the store keeps, and which servers are on it.
--
-- Instants are microseconds since 1970 (UTC); states are the numbers that cresset_queue::kit names. Payloads have tables of
-- their own, in parts that each fit into a packet, so that the rows a lease or a change of state rewrites stay small. Names
-- are compared byte by byte. A column that is computed stands for the condition of an index, which neither MySQL nor MariaDB
-- has: where it is NULL, an index has nothing to walk.

-- Servers that are on the store, and for a while those that were. A server changes its row with every group of writes, as
-- long as it has not ended.
CREATE TABLE IF NOT EXISTS servers (
    id       BIGINT       NOT NULL PRIMARY KEY,     -- never given twice; also in the name of its lock
    number   BINARY(16)   NOT NULL,                 -- its process's own number, by chance
    commits  BIGINT       NOT NULL,                 -- counts its groups
    told     BIGINT       NOT NULL,                 -- counts what it has told the others
    session  BIGINT       NOT NULL,                 -- the connection that holds its lock
    node     VARCHAR(512) NOT NULL,                 -- the server of the database that knows the lock
    who      VARCHAR(512) NOT NULL,                 -- for people
    about    MEDIUMTEXT   NOT NULL,                 -- what it says of itself, as JSON
    since    BIGINT       NOT NULL,
    seen_at  BIGINT       NOT NULL,                 -- when it last wrote, by the database's clock
    ended_at BIGINT,                                -- set when its leases are given back
    KEY servers_there (ended_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The newest number of a server.
CREATE TABLE IF NOT EXISTS epochs (
    one    TINYINT NOT NULL PRIMARY KEY,
    newest BIGINT  NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO epochs (one, newest) VALUES (1, 0);

-- What servers tell each other, each numbered by itself without a gap; written by the group that makes it true, and removed
-- by who told it after some seconds.
CREATE TABLE IF NOT EXISTS news (
    server BIGINT     NOT NULL,                     -- servers.id
    number BIGINT     NOT NULL,                     -- servers.told
    note   MEDIUMTEXT NOT NULL,
    PRIMARY KEY (server, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS tasks (
    seq         BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- the order of acceptance
    id          BINARY(16)   NOT NULL,
    model       VARCHAR(128) NOT NULL,
    state       TINYINT      NOT NULL,
    priority    TINYINT      NOT NULL,
    turn        BIGINT       NOT NULL,              -- its place in the queue: smaller goes first
    weight      BIGINT       NOT NULL,              -- bytes the input weighs in the queue
    attempts    BIGINT       NOT NULL DEFAULT 0,    -- leases ever given; fences releases and outcomes
    retries     BIGINT       NOT NULL DEFAULT 0,    -- by the retry policy
    created_at  BIGINT       NOT NULL,
    due_at      BIGINT,                             -- not leased before; NULL once it is due
    expires_at  BIGINT,                             -- not leased after, but revoked
    deadline_at BIGINT,                             -- not held after, but revoked
    started_at  BIGINT,                             -- when last leased
    finished_at BIGINT,                             -- set exactly when the state is terminal
    cache       TINYINT      NOT NULL,
    cached      TINYINT      NOT NULL DEFAULT 0,
    version     TEXT,                               -- of the model that made the outcome
    client      VARCHAR(512),
    tenant      VARCHAR(512),
    retry       MEDIUMTEXT,                         -- RetryTerms as JSON
    trace       TEXT,                               -- a traceparent and, behind a space, a tracestate
    replay_of   BINARY(16),                         -- letters.id
    bulk        BIGINT,                             -- bulks.seq; NULL for a task that came alone
    line        BIGINT,                             -- from 0
    holder      BIGINT,                             -- servers.id of a leased task
    metadata    MEDIUMBLOB,
    -- What a lease walks, in order. A task to be retried (state 2) is queued as one that never ran (state 0) is.
    place       BIGINT AS (CASE WHEN state IN (0, 2) AND due_at IS NULL THEN turn END) STORED,
    -- What an expiry walks: a queued task's expiry, a leased one's deadline.
    ends_at     BIGINT AS (CASE WHEN state IN (0, 2) THEN expires_at WHEN state = 1 THEN deadline_at END) STORED,
    -- What a bulk is counted by.
    bulk_state  TINYINT AS (CASE WHEN bulk IS NOT NULL THEN state END) STORED,
    bulk_end    BIGINT AS (CASE WHEN bulk IS NOT NULL THEN finished_at END) STORED,
    UNIQUE KEY tasks_by_id (id),
    KEY tasks_queued (model, place, seq),
    KEY tasks_delayed (model, due_at),
    KEY tasks_ending (ends_at),
    KEY tasks_finished (finished_at),               -- what a purge walks; under NULL, what a start counts
    UNIQUE KEY tasks_by_line (bulk, line),
    KEY tasks_by_bulk (bulk, bulk_state, bulk_end),
    KEY tasks_held (holder),                        -- what is given back when a server has ended
    CONSTRAINT tasks_state CHECK (state BETWEEN 0 AND 5),
    CONSTRAINT tasks_end CHECK ((finished_at IS NOT NULL) = (state IN (3, 4, 5)))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Inputs of tasks, and of dead letters when their tasks are gone.
CREATE TABLE IF NOT EXISTS inputs (
    id    BINARY(16)       NOT NULL,                -- tasks.id
    part  INT              NOT NULL,                -- from 0
    kind  TINYINT UNSIGNED NOT NULL,
    size  BIGINT           NOT NULL,                -- of the part
    bytes LONGBLOB         NOT NULL,
    PRIMARY KEY (id, part)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS outcomes (
    id    BINARY(16)       NOT NULL,                -- tasks.id
    part  INT              NOT NULL,
    kind  TINYINT UNSIGNED NOT NULL,
    size  BIGINT           NOT NULL,                -- of the part
    bytes LONGBLOB         NOT NULL,
    PRIMARY KEY (id, part)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS history (
    task    BINARY(16) NOT NULL,                    -- tasks.id
    attempt BIGINT     NOT NULL,                    -- the attempt that ended without an outcome
    at      BIGINT     NOT NULL,
    reason  MEDIUMTEXT NOT NULL,
    PRIMARY KEY (task, attempt)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS idempotency (
    model  VARCHAR(128) NOT NULL,                   -- each model has keys of its own
    word   VARCHAR(255) NOT NULL,                   -- the key
    task   BINARY(16)   NOT NULL,                   -- tasks.id
    digest BINARY(32)   NOT NULL,
    PRIMARY KEY (model, word),
    UNIQUE KEY idempotency_by_task (task)           -- what a purge looks up
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Ids whose tasks have been purged: they answer "expired" rather than "unknown" for a while.
CREATE TABLE IF NOT EXISTS tombstones (
    id        BINARY(16) NOT NULL PRIMARY KEY,
    purged_at BIGINT     NOT NULL,
    tenant    VARCHAR(512),
    KEY tombstones_by_time (purged_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Dead letters. The input of such a task is its letter's from then on.
CREATE TABLE IF NOT EXISTS letters (
    seq         BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- the order of dying
    id          BINARY(16)   NOT NULL,
    model       VARCHAR(128) NOT NULL,
    version     TEXT,                               -- of the model that died
    created_at  BIGINT       NOT NULL,              -- of the task
    died_at     BIGINT       NOT NULL,
    priority    TINYINT      NOT NULL,
    replayed_as BINARY(16),                         -- the task that was made of it
    tenant      VARCHAR(512),
    retry       MEDIUMTEXT,                         -- RetryTerms as JSON
    metadata    MEDIUMBLOB,
    evidence    LONGTEXT     NOT NULL,              -- JSON
    size        BIGINT       NOT NULL,              -- of its input
    UNIQUE KEY letters_by_id (id),
    KEY letters_by_model (model, seq),
    KEY letters_by_time (died_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Whom to tell of a task, and what is to be told, was told or could not be.
CREATE TABLE IF NOT EXISTS callbacks (
    task   BINARY(16)    NOT NULL PRIMARY KEY,      -- tasks.id
    url    VARCHAR(2048) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    host   VARCHAR(2100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- name:port
    events TINYINT       NOT NULL                   -- a bit for each
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS outbox (
    seq        BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- the order of what happened
    task       BINARY(16)    NOT NULL,              -- tasks.id: it outlives its task
    event      TINYINT       NOT NULL,
    attempt    BIGINT        NOT NULL,              -- 0 for an end
    model      VARCHAR(128)  NOT NULL,
    url        VARCHAR(2048) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    host       VARCHAR(2100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at         BIGINT        NOT NULL,
    since      BIGINT        NOT NULL,              -- when it was first to be sent, or sent again by somebody
    state      TINYINT       NOT NULL,
    tries      BIGINT        NOT NULL,
    fence      BIGINT        NOT NULL,              -- leases ever given
    due_at     BIGINT,                              -- set exactly while it waits
    settled_at BIGINT,                              -- set exactly when it is neither waiting nor being sent
    status     INT,
    note       MEDIUMTEXT,
    holder     BIGINT,                              -- servers.id while it is being sent
    UNIQUE KEY outbox_by_name (task, event, attempt),
    KEY outbox_due_by_host (host, due_at),
    KEY outbox_due (due_at),
    KEY outbox_settled (settled_at, at, host),      -- under NULL, what is open
    KEY outbox_held (holder),
    CONSTRAINT outbox_state CHECK (state BETWEEN 0 AND 4)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Addresses that want nothing more.
CREATE TABLE IF NOT EXISTS gone (
    url VARCHAR(2048) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    at  BIGINT        NOT NULL,
    KEY gone_by_time (at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Bulks: many tasks of one model that came in one request.
CREATE TABLE IF NOT EXISTS bulks (
    seq          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- the order of beginning
    id           BINARY(16)   NOT NULL,
    model        VARCHAR(128) NOT NULL,
    tenant       VARCHAR(512),
    word         VARCHAR(255),                      -- its key; each model has keys of its own
    metadata     MEDIUMBLOB,
    created_at   BIGINT       NOT NULL,
    touched_at   BIGINT       NOT NULL,             -- when a line was last accepted, or it was begun
    accepted     BIGINT       NOT NULL DEFAULT 0,   -- lines 0 up to this are there, or were
    wrong        BIGINT       NOT NULL DEFAULT 0,   -- those of them that are no task
    total        BIGINT,                            -- NULL until the end has come
    cancelled_at BIGINT,
    UNIQUE KEY bulks_by_id (id),
    UNIQUE KEY bulks_by_key (model, word),
    KEY bulks_touched (touched_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Lines that are no task, and why.
CREATE TABLE IF NOT EXISTS bulk_wrong (
    bulk  BIGINT     NOT NULL,                      -- bulks.seq
    line  BIGINT     NOT NULL,
    error MEDIUMTEXT NOT NULL,
    PRIMARY KEY (bulk, line)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The inbox: tasks that applications write down within transactions of their own. The server takes them out.
--
-- What is here is for applications, unlike the other tables: ids are text, and instants TIMESTAMPs, which mean the same in every
-- time zone of a session. Columns are wider than what they take, so that a session that cuts what is too long cannot make
-- something valid of it: the triggers in sql/inbox refuse it. An application needs INSERT on the table, and nothing else.
CREATE TABLE IF NOT EXISTS inbox (
    seq             BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id              VARCHAR(64),                    -- the task's; a fresh one unless given
    model           VARCHAR(255),
    input           LONGTEXT,                       -- JSON, kept as it is written
    body            LONGBLOB,                       -- instead of it: an input as bytes
    content_type    VARCHAR(300),                   -- of the body
    priority        INT          NOT NULL DEFAULT 0,
    eta             TIMESTAMP(6) NULL DEFAULT NULL, -- it does not start before
    expires         TIMESTAMP(6) NULL DEFAULT NULL, -- it does not start after
    deadline        TIMESTAMP(6) NULL DEFAULT NULL, -- it is revoked if it has not ended by then
    metadata        MEDIUMTEXT,                     -- JSON
    retry           MEDIUMTEXT,                     -- JSON
    callback_url    VARCHAR(2100),
    callback_events TEXT,                           -- JSON
    inserted_at     DATETIME(6),                    -- UTC; this and what follows is not the application's to say
    inserted_by     VARCHAR(512),
    size            BIGINT,                         -- of the input: known without reading it
    error           MEDIUMTEXT,                     -- why it cannot be a task: it is not taken then
    is_wrong        TINYINT      AS (error IS NOT NULL) STORED,
    waiting         VARCHAR(255) AS (CASE WHEN error IS NULL THEN model END) STORED,
    UNIQUE KEY inbox_by_id (id),
    KEY inbox_by_model (waiting, seq, size),        -- what is taken, in order: of each model
    KEY inbox_by_age (is_wrong, seq)                -- and of all
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Payloads that servers with a broker between them leave for each other, in parts.
CREATE TABLE IF NOT EXISTS parcels (
    id      BINARY(16) NOT NULL,                    -- by chance, given once
    part    INT        NOT NULL,                    -- from 0
    parts   INT        NOT NULL,                    -- all there are
    kept_at BIGINT     NOT NULL,                    -- when it was put; of part 0, when somebody last said that it is needed
    bytes   LONGBLOB   NOT NULL,
    PRIMARY KEY (id, part),
    KEY parcels_by_age (part, kept_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Which store this is, whoever opens it and by whatever address.
CREATE TABLE IF NOT EXISTS identity (
    one TINYINT    NOT NULL PRIMARY KEY,
    id  BINARY(16) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

INSERT IGNORE INTO identity (one, id) VALUES (1, UNHEX(REPLACE(UUID(), '-', '')));
