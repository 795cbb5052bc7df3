DELETE FROM gone WHERE url = ?1;
