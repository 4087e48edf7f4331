-- The next file of a snapshot follows from the snapshot. A reader looks for mappings from this number on, and reads every table of a
-- SQLite file at a moment of its own: `lake_head` could be ahead of the parts it saw, and a mapping between the two was lost to it.
-- Keep in step with ../postgres/0007_ducklake_files.up.sql.
DROP VIEW ducklake_snapshot;

CREATE VIEW ducklake_snapshot AS
SELECT seq AS snapshot_id, to_timestamp(committed_at / 1e9) AS snapshot_time, schema_version,
    CAST(2147483647 AS BIGINT) AS next_catalog_id, (seq + 1) * 16777216 AS next_file_id
FROM lake_commit;
