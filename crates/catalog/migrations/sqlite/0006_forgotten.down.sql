ALTER TABLE dataset DROP COLUMN forgotten;
