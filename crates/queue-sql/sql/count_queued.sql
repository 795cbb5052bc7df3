-- Two partial indexes, each covering its part.
SELECT model, count(*), sum(weight), 0, NULL FROM tasks WHERE state IN (0, 2) AND due_at IS NULL GROUP BY model
UNION ALL
SELECT model, count(*), sum(weight), count(*), min(due_at) FROM tasks WHERE due_at IS NOT NULL GROUP BY model;
