DROP VIEW ducklake_snapshot;

CREATE VIEW ducklake_snapshot AS
SELECT seq AS snapshot_id, to_timestamp(committed_at / 1e9) AS snapshot_time, schema_version,
    CAST(2147483647 AS BIGINT) AS next_catalog_id, (SELECT (sequence + 1) * 16777216 FROM lake_head) AS next_file_id
FROM lake_commit;
