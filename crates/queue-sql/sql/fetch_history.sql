SELECT attempt, at, reason FROM history WHERE seq = ?1 ORDER BY attempt;
