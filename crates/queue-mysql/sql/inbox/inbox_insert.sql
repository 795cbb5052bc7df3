-- What no server could take is refused here, where whoever wrote it is told. Which models there are, and what inputs they
-- take, is known to the server alone: such a row becomes a task that has failed. A message has 128 characters at most.
CREATE TRIGGER inbox_insert BEFORE INSERT ON inbox FOR EACH ROW
BEGIN
    DECLARE wrong VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    DECLARE hex VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    SET hex = LOWER(REPLACE(NEW.id, '-', ''));
    IF NEW.id IS NULL THEN
        -- A UUID of version 7 by the database's clock, so that ids sort by their time as those of the server do.
        SET hex = MD5(CONCAT(UUID(), RAND()));
        SET hex = LOWER(CONCAT(
            LPAD(HEX(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000), 12, '0'), '7', SUBSTR(hex, 1, 3),
            SUBSTR('89ab', 1 + FLOOR(4 * RAND()), 1), SUBSTR(hex, 4, 15)));
    END IF;
    SET NEW.id = CONCAT_WS('-', SUBSTR(hex, 1, 8), SUBSTR(hex, 9, 4), SUBSTR(hex, 13, 4), SUBSTR(hex, 17, 4), SUBSTR(hex, 21, 12)),
        NEW.inserted_at = UTC_TIMESTAMP(6),
        NEW.inserted_by = USER(),
        NEW.size = OCTET_LENGTH(COALESCE(NEW.input, NEW.body)),
        NEW.error = NULL;
    SET wrong = CASE
        WHEN NEW.seq <> 0 THEN 'seq is given, which the database counts'
        WHEN LENGTH(hex) <> 32 OR hex REGEXP '[^0-9a-f]' THEN 'id is no UUID'
        WHEN NEW.model IS NULL OR CHAR_LENGTH(NEW.model) NOT BETWEEN 1 AND 128 OR NEW.model REGEXP '[^a-z0-9_.-]'
            OR LEFT(NEW.model, 1) IN ('_', '.', '-')
            THEN 'model is not the name of a model: a-z, 0-9, then _ . - too, 128 at most'
        WHEN NEW.input IS NULL AND NEW.body IS NULL THEN 'there is no input: give input (JSON), or body and content_type'
        WHEN NEW.input IS NOT NULL AND NEW.body IS NOT NULL
            THEN 'there are both an input and a body: give input (JSON), or body and content_type'
        WHEN NEW.body IS NOT NULL AND NEW.content_type IS NULL
            THEN 'the body has no content_type, such as application/x-npy'
        WHEN NEW.body IS NULL AND NEW.content_type IS NOT NULL THEN 'there is a content_type without a body; input is JSON'
        WHEN CHAR_LENGTH(NEW.content_type) > 255 THEN 'content_type has more than 255 characters'
        WHEN NOT JSON_VALID(NEW.input) THEN 'input is no JSON, or nested too deeply for this database'
        WHEN NEW.priority NOT BETWEEN -100 AND 100
            THEN CONCAT('priority is ', NEW.priority, '; it goes from -100 (last) to 100 (first)')
        WHEN NEW.eta < '1970-01-01 00:00:01' OR NEW.expires < '1970-01-01 00:00:01' OR NEW.deadline < '1970-01-01 00:00:01'
            THEN 'eta, expires and deadline are instants, or NULL'
        WHEN NOT JSON_VALID(NEW.metadata) OR OCTET_LENGTH(NEW.metadata) > 16384
            THEN 'metadata is no JSON object of at most 16384 bytes'
        WHEN JSON_TYPE(NEW.metadata) <> 'OBJECT' THEN 'metadata is no JSON object of at most 16384 bytes'
        WHEN NOT JSON_VALID(NEW.retry) THEN 'retry is no JSON object, such as {"max_retries": 5}'
        WHEN JSON_TYPE(NEW.retry) <> 'OBJECT' THEN 'retry is no JSON object, such as {"max_retries": 5}'
        WHEN NEW.callback_events IS NOT NULL AND NEW.callback_url IS NULL
            THEN 'there are callback_events without a callback_url'
        WHEN CHAR_LENGTH(NEW.callback_url) > 2048 THEN 'callback_url has more than 2048 characters'
        WHEN NOT JSON_VALID(NEW.callback_events) THEN 'callback_events is no JSON list of at most 16, such as ["failed"]'
        WHEN JSON_TYPE(NEW.callback_events) <> 'ARRAY' OR JSON_LENGTH(NEW.callback_events) > 16
            OR OCTET_LENGTH(NEW.callback_events) > 2048
            THEN 'callback_events is no JSON list of at most 16, such as ["failed"]'
    END;
    IF wrong IS NOT NULL THEN
        SET wrong = CONCAT('a task for cresset cannot be: ', wrong);
        -- The number of a broken CHECK, which drivers and frameworks know as an integrity error.
        SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 3819, MESSAGE_TEXT = wrong;
    END IF;
END
