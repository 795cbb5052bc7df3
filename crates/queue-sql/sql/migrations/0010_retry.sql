-- Schema 10: how a task's submitter has it tried again, where that is not left to its model.

ALTER TABLE tasks ADD COLUMN retry TEXT;                            -- RetryTerms as JSON
