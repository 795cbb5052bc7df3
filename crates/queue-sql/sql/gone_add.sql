INSERT INTO gone (url, at) VALUES (?1, ?2) ON CONFLICT (url) DO UPDATE SET at = excluded.at;
