CREATE OR REPLACE VIEW lake.ducklake_data_file AS
SELECT p.id AS data_file_id, t.table_id AS table_id, p.begin_seq AS begin_snapshot, p.end_seq AS end_snapshot,
    CAST(NULL AS BIGINT) AS file_order, p.path AS path, TRUE AS path_is_relative, CAST('parquet' AS VARCHAR) AS file_format,
    COALESCE(p.file_rows, p.row_count) AS record_count, p.byte_size AS file_size_bytes, CAST(NULL AS BIGINT) AS footer_size,
    p.row_id_start AS row_id_start, CAST(NULL AS BIGINT) AS partition_id, CAST(NULL AS VARCHAR) AS encryption_key,
    COALESCE(p.schema_seq, t.begin_seq) * 16777216 + t.table_id AS mapping_id, CAST(NULL AS BIGINT) AS partial_max
FROM part p JOIN lake.lake_tables t ON t.dataset_id = p.dataset_id;

-- A millisecond wider than the rows: doubles do not hold nanoseconds.
CREATE OR REPLACE VIEW lake.ducklake_file_column_stats AS
SELECT p.id AS data_file_id, t.table_id AS table_id, t.time_column AS column_id, CAST(NULL AS BIGINT) AS column_size_bytes,
    COALESCE(p.file_rows, p.row_count) AS value_count, CAST(0 AS BIGINT) AS null_count,
    CAST(to_timestamp(p.min_ts / 1e9 - 0.001) AS VARCHAR) AS min_value,
    CAST(to_timestamp(p.max_ts / 1e9 + 0.001) AS VARCHAR) AS max_value,
    CAST(NULL AS BOOLEAN) AS contains_nan, CAST(NULL AS VARCHAR) AS extra_stats
FROM part p JOIN lake.lake_tables t ON t.dataset_id = p.dataset_id;
