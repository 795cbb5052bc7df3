-- Schema 7: dead letters, each with the input of its task, which moves here when the task ends; and what was replayed.
--
-- An input in a file stays in that file; the letter's row names it then, and the task's no longer does.

CREATE TABLE letters (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of dying; never reused, so that a list keeps its place
    id          BLOB    NOT NULL CHECK (length(id) = 16),
    model       TEXT    NOT NULL,
    version     TEXT,                               -- of the model that died
    created_at  INTEGER NOT NULL,                   -- of the task
    died_at     INTEGER NOT NULL,
    priority    INTEGER NOT NULL,
    replayed_as BLOB,                               -- the task that was made of it
    metadata    BLOB,
    evidence    TEXT    NOT NULL,                   -- JSON
    kind        INTEGER NOT NULL,                   -- the last five as in inputs
    file        TEXT,
    length      INTEGER,
    checksum    INTEGER,
    bytes       BLOB    NOT NULL                    -- last, so that a list does not read past it
) STRICT;

CREATE UNIQUE INDEX letters_by_id ON letters (id);

-- What a list of one model walks.
CREATE INDEX letters_by_model ON letters (model, seq);

-- What a purge walks.
CREATE INDEX letters_by_time ON letters (died_at);

ALTER TABLE tasks ADD COLUMN replay_of BLOB;                        -- letters.id
