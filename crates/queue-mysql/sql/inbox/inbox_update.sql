-- What a row says was looked at when it came. Its error alone is set and cleared.
CREATE TRIGGER inbox_update BEFORE UPDATE ON inbox FOR EACH ROW
BEGIN
    IF NOT (
        NEW.seq <=> OLD.seq AND NEW.id <=> OLD.id AND NEW.model <=> OLD.model AND NEW.input <=> OLD.input
        AND NEW.body <=> OLD.body AND NEW.content_type <=> OLD.content_type AND NEW.priority <=> OLD.priority
        AND NEW.eta <=> OLD.eta AND NEW.expires <=> OLD.expires AND NEW.deadline <=> OLD.deadline
        AND NEW.metadata <=> OLD.metadata AND NEW.retry <=> OLD.retry AND NEW.callback_url <=> OLD.callback_url
        AND NEW.callback_events <=> OLD.callback_events AND NEW.inserted_at <=> OLD.inserted_at
        AND NEW.inserted_by <=> OLD.inserted_by AND NEW.size <=> OLD.size
    ) THEN
        SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 3819,
            MESSAGE_TEXT = 'a row of the inbox is not changed, but for its error: delete it, and write another';
    END IF;
END
