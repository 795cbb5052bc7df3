-- From tasks_by_bulk alone.
SELECT state, count(*), max(finished_at) FROM tasks WHERE bulk = ?1 GROUP BY state;
