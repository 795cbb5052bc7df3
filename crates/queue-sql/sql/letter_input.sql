SELECT kind, bytes, file, length, checksum FROM letters WHERE id = ?1;
