SELECT c.url, c.host, c.events, t.id, t.model FROM callbacks AS c JOIN tasks AS t ON t.seq = c.seq WHERE c.seq = ?1;
