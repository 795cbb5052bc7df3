-- Schema 14: the trace that a task's submitter follows; NULL where there is none.

ALTER TABLE tasks ADD COLUMN trace TEXT;                            -- a traceparent and, behind a space, a tracestate
