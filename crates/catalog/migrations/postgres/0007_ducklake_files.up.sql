-- The next file of a snapshot follows from the snapshot; see ../sqlite/0007_ducklake_files.up.sql, with which this keeps in step.
CREATE OR REPLACE VIEW lake.ducklake_snapshot AS
SELECT seq AS snapshot_id, to_timestamp(committed_at / 1e9) AS snapshot_time, schema_version,
    CAST(2147483647 AS BIGINT) AS next_catalog_id, (seq + 1) * 16777216 AS next_file_id
FROM lake_commit;
