SELECT model, count(*), sum(weight) FROM tasks WHERE state = 0 GROUP BY model;
