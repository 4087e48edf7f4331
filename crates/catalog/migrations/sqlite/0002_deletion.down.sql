DROP TABLE retention_debt;
DROP TABLE retention_state;
DROP TABLE deletion_object;
DROP TABLE deletion_dataset;
DROP TABLE deletion;
