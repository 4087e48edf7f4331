-- Keep in step with ../sqlite/0006_forgotten.up.sql.

-- How often rows of the dataset were deleted because somebody asked for it. Writers remember which resources and series are
-- described and do not describe them again for an hour: this tells them to forget what they remember.
ALTER TABLE dataset ADD COLUMN forgotten BIGINT NOT NULL DEFAULT 0;
