-- Schema 2: several servers at once. Each has a row and a lock of its own; a lease says whose it is.

-- Servers that are on the store, and for a while those that were. A server changes its row with every group of writes, as
-- long as it has not ended.
CREATE TABLE servers (
    id       bigint  PRIMARY KEY,                   -- never given twice; also what its lock is called
    number   uuid    NOT NULL,                      -- its process's own number, by chance
    commits  bigint  NOT NULL,                      -- counts its groups
    pid      integer NOT NULL,                      -- the database's process that holds its lock
    who      text    NOT NULL,                      -- for people
    about    text    NOT NULL DEFAULT '{}',         -- what it says of itself, as JSON
    since    bigint  NOT NULL,
    seen_at  bigint  NOT NULL,                      -- when it last wrote, by the database's clock
    ended_at bigint                                 -- set when its leases are given back
);

CREATE INDEX servers_there ON servers (id) WHERE ended_at IS NULL;

-- The newest number of a server.
CREATE TABLE epochs (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    newest bigint  NOT NULL
);

INSERT INTO epochs (newest) SELECT coalesce(max(epoch), 0) FROM server;

-- Whoever had leases before has ended: its lock was free.
INSERT INTO history (seq, attempt, at, reason)
SELECT seq, attempts, (extract(epoch FROM now()) * 1000000)::bigint, 'the server ended while it ran' FROM tasks WHERE state = 1
ON CONFLICT (seq, attempt) DO NOTHING;

UPDATE tasks SET state = 0 WHERE state = 1;
UPDATE outbox SET state = 0, due_at = (extract(epoch FROM now()) * 1000000)::bigint WHERE settled_at IS NULL AND state = 1;

DROP TABLE server;

ALTER TABLE tasks ADD COLUMN holder bigint;         -- servers.id of a leased task
ALTER TABLE outbox ADD COLUMN holder bigint;        -- servers.id while it is being sent

DROP INDEX tasks_leased;

-- What is given back when a server has ended.
CREATE INDEX tasks_held ON tasks (holder) WHERE holder IS NOT NULL;
CREATE INDEX outbox_held ON outbox (holder) WHERE holder IS NOT NULL;
