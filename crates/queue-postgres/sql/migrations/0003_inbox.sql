-- The inbox: tasks that applications write down within transactions of their own. A server takes them out.
--
-- What is here is for applications, unlike the other tables: instants are timestamps, and what makes no sense is refused in
-- words when it is inserted. A role needs USAGE on the schema and INSERT on the table, and nothing else.

CREATE TABLE inbox (
    seq             bigint      GENERATED ALWAYS AS IDENTITY,
    id              uuid        NOT NULL,            -- the task's
    model           text        COLLATE "C" NOT NULL,
    input           json,                            -- kept as it is written
    body            bytea,                           -- instead of it: an input as bytes
    content_type    text,                            -- of the body
    priority        integer     NOT NULL DEFAULT 0,
    eta             timestamptz,                     -- it does not start before
    expires         timestamptz,                     -- it does not start after
    deadline        timestamptz,                     -- it is revoked if it has not ended by then
    metadata        json,
    retry           json,
    callback_url    text,
    callback_events text[],
    inserted_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    inserted_by     text        NOT NULL DEFAULT current_user,
    error           text                             -- why it cannot be a task: it is not taken then
) WITH (fillfactor = 100, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX inbox_by_id ON inbox (id);

-- What is taken, in order: of each model, and of all.
CREATE INDEX inbox_by_model ON inbox (model, seq) WHERE error IS NULL;
CREATE INDEX inbox_by_age ON inbox (seq) WHERE error IS NULL;
CREATE INDEX inbox_refused ON inbox (seq) WHERE error IS NOT NULL;

-- As in the other tables; and so its size is known without reading it.
ALTER TABLE inbox ALTER COLUMN input SET STORAGE EXTERNAL;
ALTER TABLE inbox ALTER COLUMN body SET STORAGE EXTERNAL;

-- A UUID of version 7 by the database's clock, so that ids sort by their time as those of the server do.
CREATE FUNCTION fresh_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
BEGIN ATOMIC
    SELECT encode(
        set_bit(set_bit(
            substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
            || substring(uuid_send(gen_random_uuid()) FROM 7),
            52, 1), 53, 1),
        'hex')::uuid;
END;

ALTER TABLE inbox ALTER COLUMN id SET DEFAULT fresh_id();

-- What no server could take is refused here, where whoever wrote it is told. Which models there are, and what inputs they
-- take, is known to the server alone: such a row becomes a task that has failed.
CREATE FUNCTION inbox_check() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $check$
DECLARE
    wrong text;
    way   text;
    at    record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.inserted_at := clock_timestamp();
        NEW.inserted_by := current_user;
        NEW.error := NULL;
    END IF;
    IF NEW.model COLLATE "C" !~ '^[a-z0-9][a-z0-9_.-]{0,127}$' THEN
        wrong := format('model is %L, which is not the name of a model', left(NEW.model, 200));
        way := 'a name starts with a-z or 0-9, goes on with a-z, 0-9, _, . or -, and has at most 128 characters';
    ELSIF (NEW.input IS NULL) = (NEW.body IS NULL) THEN
        wrong := CASE WHEN NEW.input IS NULL THEN 'there is no input' ELSE 'there are both an input and a body' END;
        way := 'give input (JSON), or body (bytea) and content_type';
    ELSIF (NEW.body IS NULL) <> (NEW.content_type IS NULL) THEN
        wrong := CASE WHEN NEW.body IS NULL THEN 'there is a content_type without a body' ELSE 'the body has no content_type' END;
        way := 'body and content_type go together, such as application/x-npy; input is JSON';
    ELSIF length(NEW.content_type) > 255 THEN
        wrong := 'content_type is too long';
        way := 'it has at most 255 characters';
    ELSIF NEW.priority NOT BETWEEN -100 AND 100 THEN
        wrong := format('priority is %s', NEW.priority);
        way := 'it goes from -100 (last) to 100 (first)';
    ELSIF json_typeof(NEW.metadata) <> 'object' OR octet_length(NEW.metadata::text) > 16384 THEN
        wrong := 'metadata is no JSON object of at most 16384 bytes';
        way := 'leave it NULL, or give an object';
    ELSIF json_typeof(NEW.retry) <> 'object' THEN
        wrong := 'retry is no JSON object';
        way := 'leave it NULL, or give an object such as {"max_retries": 5}';
    ELSIF NEW.callback_events IS NOT NULL AND NEW.callback_url IS NULL THEN
        wrong := 'there are callback_events without a callback_url';
        way := 'give both, or the address alone';
    ELSIF length(NEW.callback_url) > 2048 OR cardinality(NEW.callback_events) > 16 THEN
        wrong := 'callback_url or callback_events are too long';
        way := 'an address has at most 2048 characters, and there are five events';
    END IF;
    IF wrong IS NULL AND num_nonnulls(NEW.eta, NEW.expires, NEW.deadline) > 0 THEN
        FOR at IN SELECT * FROM (VALUES ('eta', NEW.eta), ('expires', NEW.expires), ('deadline', NEW.deadline)) AS t (name, value)
        LOOP
            IF at.value NOT BETWEEN '1970-01-01T00:00:00Z' AND '9999-12-31T00:00:00Z' THEN
                wrong := format('%s is %s', at.name, at.value);
                way := 'it is an instant from 1970 to 9999, or NULL';
            END IF;
        END LOOP;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'a task for cresset cannot be: ' || wrong, HINT = way,
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$check$;

CREATE TRIGGER inbox_check BEFORE INSERT OR UPDATE ON inbox FOR EACH ROW EXECUTE FUNCTION inbox_check();

-- The server is told when the transaction commits; it looks by itself as well, if less often.
CREATE FUNCTION inbox_told() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $told$
BEGIN
    PERFORM pg_notify('cresset_inbox', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$told$;

CREATE TRIGGER inbox_told AFTER INSERT ON inbox FOR EACH STATEMENT EXECUTE FUNCTION inbox_told();

-- Writes a task down, in the caller's transaction and with the caller's rights; gives its id.
CREATE FUNCTION enqueue(
    model           text,
    input           jsonb,
    priority        integer     DEFAULT 0,
    eta             timestamptz DEFAULT NULL,
    expires         timestamptz DEFAULT NULL,
    deadline        timestamptz DEFAULT NULL,
    metadata        jsonb       DEFAULT NULL,
    retry           jsonb       DEFAULT NULL,
    callback_url    text        DEFAULT NULL,
    callback_events text[]      DEFAULT NULL,
    id              uuid        DEFAULT NULL
) RETURNS uuid LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH fresh AS MATERIALIZED (
        SELECT coalesce(enqueue.id, fresh_id()) AS id
    ), made AS (
        INSERT INTO inbox (id, model, input, priority, eta, expires, deadline, metadata, retry, callback_url, callback_events)
        SELECT fresh.id, enqueue.model, enqueue.input::json, enqueue.priority, enqueue.eta, enqueue.expires, enqueue.deadline,
               enqueue.metadata::json, enqueue.retry::json, enqueue.callback_url, enqueue.callback_events
        FROM fresh
    )
    SELECT fresh.id FROM fresh;
END;
