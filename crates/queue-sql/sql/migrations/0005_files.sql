-- Schema 5: inputs and outcomes too large for a row are files of their own; the row names the file.
--
-- Where `file` is set, `bytes` is empty, and `length` and `checksum` (XXH64, as a signed number) say what the file must be.

ALTER TABLE inputs ADD COLUMN file TEXT;
ALTER TABLE inputs ADD COLUMN length INTEGER;
ALTER TABLE inputs ADD COLUMN checksum INTEGER;

ALTER TABLE outcomes ADD COLUMN file TEXT;
ALTER TABLE outcomes ADD COLUMN length INTEGER;
ALTER TABLE outcomes ADD COLUMN checksum INTEGER;
