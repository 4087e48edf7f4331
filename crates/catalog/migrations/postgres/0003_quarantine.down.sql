DROP TABLE catalog_reader;
DROP TABLE quarantine;
