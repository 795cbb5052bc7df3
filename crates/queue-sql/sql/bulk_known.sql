SELECT id FROM bulks WHERE model = ?1 AND key = ?2;
