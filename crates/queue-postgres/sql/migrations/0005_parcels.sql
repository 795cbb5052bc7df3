-- Schema 5: payloads that servers with a broker between them leave for each other, and which store this is.

CREATE TABLE parcels (
    id      uuid   PRIMARY KEY,                     -- by chance, given once
    kept_at bigint NOT NULL,                        -- when it was put, or somebody last said that it is needed
    bytes   bytea  NOT NULL
);

-- It is read once and goes: what packing takes is more than it brings.
ALTER TABLE parcels ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE INDEX parcels_by_age ON parcels (kept_at);

-- Whoever opens it, and by whatever address.
CREATE TABLE identity (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid    NOT NULL
);

INSERT INTO identity (id) VALUES (gen_random_uuid());
