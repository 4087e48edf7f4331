-- The catalog as DuckLake 1.0: views with the names and columns of its tables, over ours (docs/decisions/0012).
-- Keep in step with ../sqlite/0004_ducklake.up.sql.

-- Where a schema was changed last, and by which snapshot: a reader that is attached looks at schemas again when this grows.
ALTER TABLE lake_head ADD COLUMN schema_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_head ADD COLUMN definition_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_commit ADD COLUMN schema_version BIGINT NOT NULL DEFAULT 0;

-- The first snapshot that shows a column, null until a part may hold it, and the first that does not any more.
ALTER TABLE dataset_column ADD COLUMN lake_seq BIGINT;
ALTER TABLE dataset_column ADD COLUMN lake_end BIGINT;
CREATE INDEX dataset_column_hidden ON dataset_column (dataset_id) WHERE lake_seq IS NULL;

-- Rows of the Parquet file, which of points are chunks; null in parts that were written before this was counted.
ALTER TABLE part ADD COLUMN file_rows BIGINT;
-- The snapshot that changed the columns of the dataset last when the part was written; null in older parts.
ALTER TABLE part ADD COLUMN schema_seq BIGINT;

-- One schema per tenant, from its first part on.
CREATE TABLE lake_schema (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    begin_seq BIGINT NOT NULL
);

-- What the program says of its datasets, columns and views; written at its start.
CREATE TABLE lake_table (
    kind BIGINT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    time_column BIGINT NOT NULL
);
CREATE TABLE lake_column (
    kind BIGINT NOT NULL,
    id BIGINT NOT NULL,
    place BIGINT NOT NULL,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    data_type TEXT NOT NULL,
    parent BIGINT NOT NULL, -- 0 for none
    PRIMARY KEY (kind, id)
);
CREATE TABLE lake_view (
    id BIGINT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE SCHEMA lake;
CREATE TABLE lake.ducklake_metadata (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    scope TEXT,
    scope_id BIGINT
);

-- Tables: 16 ids per tenant, 1 to 7 its datasets and 8 to 15 its views.
CREATE VIEW lake.lake_tables AS
SELECT s.id AS schema_id, s.id * 16 + t.kind AS table_id, t.kind AS kind, t.name AS name, t.time_column AS time_column,
    s.begin_seq AS begin_seq, d.id AS dataset_id
FROM lake_schema s CROSS JOIN lake_table t LEFT JOIN dataset d ON d.tenant = s.tenant AND d.kind = t.kind
WHERE EXISTS (SELECT 1 FROM dataset own WHERE own.tenant = s.tenant);

-- When columns of a table changed.
CREATE VIEW lake.lake_changes AS
SELECT table_id, begin_seq AS seq FROM lake.lake_tables
UNION SELECT t.table_id, h.definition_seq FROM lake.lake_tables t CROSS JOIN lake_head h WHERE h.definition_seq > t.begin_seq
UNION SELECT t.table_id, c.lake_seq FROM lake.lake_tables t JOIN dataset_column c ON c.dataset_id = t.dataset_id
WHERE c.lake_seq > t.begin_seq;

-- Columns are found by name in every file. A mapping never changes under its id, because readers keep it; they look for
-- new ones from the last `next_file_id` on that they saw, so both begin with a snapshot's number.
CREATE VIEW lake.lake_mappings AS
SELECT DISTINCT t.table_id AS table_id, COALESCE(p.schema_seq, t.begin_seq) AS seq
FROM part p JOIN lake.lake_tables t ON t.dataset_id = p.dataset_id;

-- Ids of attribute columns are above those of all others, which have 30 bits.
CREATE VIEW lake.lake_columns AS
SELECT t.table_id AS table_id, c.id AS column_id, t.begin_seq AS begin_seq, CAST(NULL AS BIGINT) AS end_seq,
    c.place AS place, c.name AS name, c.source AS source, c.data_type AS data_type, NULLIF(c.parent, 0) AS parent
FROM lake.lake_tables t JOIN lake_column c ON c.kind = t.kind
UNION ALL
SELECT t.table_id, 1073741824 + c.id, c.lake_seq, c.lake_end, 1073741824 + c.id, REPLACE(c.name, '\\', '\'), REPLACE(c.name, '\\', '\'),
    CASE c.data_type WHEN 'utf8' THEN 'varchar' WHEN 'bool' THEN 'boolean' ELSE c.data_type END, CAST(NULL AS BIGINT)
FROM lake.lake_tables t JOIN dataset_column c ON c.dataset_id = t.dataset_id WHERE c.lake_seq IS NOT NULL;

CREATE VIEW lake.ducklake_snapshot AS
SELECT seq AS snapshot_id, to_timestamp(committed_at / 1e9) AS snapshot_time, schema_version,
    CAST(2147483647 AS BIGINT) AS next_catalog_id, (SELECT (sequence + 1) * 16777216 FROM lake_head) AS next_file_id
FROM lake_commit;

CREATE VIEW lake.ducklake_snapshot_changes AS
SELECT seq AS snapshot_id, CAST('' AS VARCHAR) AS changes_made, CAST(NULL AS VARCHAR) AS author,
    CAST(NULL AS VARCHAR) AS commit_message, CAST(NULL AS VARCHAR) AS commit_extra_info
FROM lake_commit;

CREATE VIEW lake.ducklake_schema AS
SELECT DISTINCT s.id AS schema_id,
    CAST('00000001-0000-4000-8000-' || LPAD(CAST(s.id AS VARCHAR), 12, '0') AS UUID) AS schema_uuid, s.begin_seq AS begin_snapshot,
    CAST(NULL AS BIGINT) AS end_snapshot, s.name AS schema_name, CAST('' AS VARCHAR) AS path, TRUE AS path_is_relative
FROM lake_schema s JOIN dataset d ON d.tenant = s.tenant;

CREATE VIEW lake.ducklake_table AS
SELECT table_id,
    CAST('00000002-0000-4000-8000-' || LPAD(CAST(table_id AS VARCHAR), 12, '0') AS UUID) AS table_uuid,
    begin_seq AS begin_snapshot, CAST(NULL AS BIGINT) AS end_snapshot, schema_id,
    name || '_stored' AS table_name, CAST('' AS VARCHAR) AS path, TRUE AS path_is_relative
FROM lake.lake_tables;

CREATE VIEW lake.ducklake_view AS
SELECT DISTINCT s.id * 16 + v.id AS view_id,
    CAST('00000003-0000-4000-8000-' || LPAD(CAST(s.id * 16 + v.id AS VARCHAR), 12, '0') AS UUID) AS view_uuid,
    s.begin_seq AS begin_snapshot, CAST(NULL AS BIGINT) AS end_snapshot, s.id AS schema_id, v.name AS view_name,
    CAST('duckdb' AS VARCHAR) AS dialect,
    REPLACE(v.body, '{TENANT}', '"' || s.name || '"') AS "sql", CAST('' AS VARCHAR) AS column_aliases
FROM lake_schema s JOIN dataset d ON d.tenant = s.tenant CROSS JOIN lake_view v;

CREATE VIEW lake.ducklake_column AS
SELECT column_id, begin_seq AS begin_snapshot, end_seq AS end_snapshot, table_id, place AS column_order,
    name AS column_name, data_type AS column_type, CAST(NULL AS VARCHAR) AS initial_default,
    CASE WHEN data_type IN ('list', 'struct') THEN CAST(NULL AS VARCHAR) ELSE 'NULL' END AS default_value, TRUE AS nulls_allowed,
    parent AS parent_column, CASE WHEN data_type IN ('list', 'struct') THEN '' ELSE 'literal' END AS default_value_type,
    CAST('duckdb' AS VARCHAR) AS default_value_dialect
FROM lake.lake_columns;

CREATE VIEW lake.ducklake_column_mapping AS
SELECT seq * 16777216 + table_id AS mapping_id, table_id, CAST('map_by_name' AS VARCHAR) AS "type" FROM lake.lake_mappings;

CREATE VIEW lake.ducklake_name_mapping AS
SELECT m.seq * 16777216 + m.table_id AS mapping_id, c.column_id AS column_id, c.source AS source_name, c.column_id AS target_field_id,
    c.parent AS parent_column, FALSE AS is_partition
FROM lake.lake_mappings m JOIN lake.lake_columns c ON c.table_id = m.table_id AND c.begin_seq <= m.seq;

CREATE VIEW lake.ducklake_schema_versions AS
SELECT seq AS begin_snapshot, seq AS schema_version, table_id FROM lake.lake_changes;

CREATE VIEW lake.ducklake_data_file AS
SELECT p.id AS data_file_id, t.table_id AS table_id, p.begin_seq AS begin_snapshot, p.end_seq AS end_snapshot,
    CAST(NULL AS BIGINT) AS file_order, p.path AS path, TRUE AS path_is_relative, CAST('parquet' AS VARCHAR) AS file_format,
    COALESCE(p.file_rows, p.row_count) AS record_count, p.byte_size AS file_size_bytes, CAST(NULL AS BIGINT) AS footer_size,
    p.row_id_start AS row_id_start, CAST(NULL AS BIGINT) AS partition_id, CAST(NULL AS VARCHAR) AS encryption_key,
    COALESCE(p.schema_seq, t.begin_seq) * 16777216 + t.table_id AS mapping_id, CAST(NULL AS BIGINT) AS partial_max
FROM part p JOIN lake.lake_tables t ON t.dataset_id = p.dataset_id;

-- A millisecond wider than the rows: doubles do not hold nanoseconds.
CREATE VIEW lake.ducklake_file_column_stats AS
SELECT p.id AS data_file_id, t.table_id AS table_id, t.time_column AS column_id, CAST(NULL AS BIGINT) AS column_size_bytes,
    COALESCE(p.file_rows, p.row_count) AS value_count, CAST(0 AS BIGINT) AS null_count,
    CAST(to_timestamp(p.min_ts / 1e9 - 0.001) AS VARCHAR) AS min_value,
    CAST(to_timestamp(p.max_ts / 1e9 + 0.001) AS VARCHAR) AS max_value,
    CAST(NULL AS BOOLEAN) AS contains_nan, CAST(NULL AS VARCHAR) AS extra_stats
FROM part p JOIN lake.lake_tables t ON t.dataset_id = p.dataset_id;

-- Nothing of the rest is there. Statistics of whole tables, above all: a reader keeps them across snapshots, and answers
-- from them.

CREATE VIEW lake.ducklake_table_stats AS
SELECT CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS record_count, CAST(NULL AS BIGINT) AS next_row_id,
    CAST(NULL AS BIGINT) AS file_size_bytes
WHERE FALSE;

CREATE VIEW lake.ducklake_table_column_stats AS
SELECT CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS column_id, CAST(NULL AS BOOLEAN) AS contains_null,
    CAST(NULL AS BOOLEAN) AS contains_nan, CAST(NULL AS VARCHAR) AS min_value, CAST(NULL AS VARCHAR) AS max_value, CAST(NULL
    AS VARCHAR) AS extra_stats
WHERE FALSE;

CREATE VIEW lake.ducklake_delete_file AS
SELECT CAST(NULL AS BIGINT) AS delete_file_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS begin_snapshot,
    CAST(NULL AS BIGINT) AS end_snapshot, CAST(NULL AS BIGINT) AS data_file_id, CAST(NULL AS VARCHAR) AS path, CAST(NULL AS
    BOOLEAN) AS path_is_relative, CAST(NULL AS VARCHAR) AS "format", CAST(NULL AS BIGINT) AS delete_count, CAST(NULL AS
    BIGINT) AS file_size_bytes, CAST(NULL AS BIGINT) AS footer_size, CAST(NULL AS VARCHAR) AS encryption_key, CAST(NULL AS
    BIGINT) AS partial_max
WHERE FALSE;

CREATE VIEW lake.ducklake_files_scheduled_for_deletion AS
SELECT CAST(NULL AS BIGINT) AS data_file_id, CAST(NULL AS VARCHAR) AS path, CAST(NULL AS BOOLEAN) AS path_is_relative,
    CAST(NULL AS TIMESTAMPTZ) AS schedule_start
WHERE FALSE;

CREATE VIEW lake.ducklake_inlined_data_tables AS
SELECT CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS VARCHAR) AS table_name, CAST(NULL AS BIGINT) AS schema_version
WHERE FALSE;

CREATE VIEW lake.ducklake_file_variant_stats AS
SELECT CAST(NULL AS BIGINT) AS data_file_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS column_id, CAST(NULL
    AS VARCHAR) AS variant_path, CAST(NULL AS VARCHAR) AS shredded_type, CAST(NULL AS BIGINT) AS column_size_bytes,
    CAST(NULL AS BIGINT) AS value_count, CAST(NULL AS BIGINT) AS null_count, CAST(NULL AS VARCHAR) AS min_value, CAST(NULL
    AS VARCHAR) AS max_value, CAST(NULL AS BOOLEAN) AS contains_nan, CAST(NULL AS VARCHAR) AS extra_stats
WHERE FALSE;

CREATE VIEW lake.ducklake_tag AS
SELECT CAST(NULL AS BIGINT) AS object_id, CAST(NULL AS BIGINT) AS begin_snapshot, CAST(NULL AS BIGINT) AS end_snapshot,
    CAST(NULL AS VARCHAR) AS "key", CAST(NULL AS VARCHAR) AS "value"
WHERE FALSE;

CREATE VIEW lake.ducklake_column_tag AS
SELECT CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS column_id, CAST(NULL AS BIGINT) AS begin_snapshot,
    CAST(NULL AS BIGINT) AS end_snapshot, CAST(NULL AS VARCHAR) AS "key", CAST(NULL AS VARCHAR) AS "value"
WHERE FALSE;

CREATE VIEW lake.ducklake_partition_info AS
SELECT CAST(NULL AS BIGINT) AS partition_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS begin_snapshot,
    CAST(NULL AS BIGINT) AS end_snapshot
WHERE FALSE;

CREATE VIEW lake.ducklake_partition_column AS
SELECT CAST(NULL AS BIGINT) AS partition_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS partition_key_index,
    CAST(NULL AS BIGINT) AS column_id, CAST(NULL AS VARCHAR) AS transform
WHERE FALSE;

CREATE VIEW lake.ducklake_file_partition_value AS
SELECT CAST(NULL AS BIGINT) AS data_file_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS partition_key_index,
    CAST(NULL AS VARCHAR) AS partition_value
WHERE FALSE;

CREATE VIEW lake.ducklake_sort_info AS
SELECT CAST(NULL AS BIGINT) AS sort_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS begin_snapshot, CAST(NULL
    AS BIGINT) AS end_snapshot
WHERE FALSE;

CREATE VIEW lake.ducklake_sort_expression AS
SELECT CAST(NULL AS BIGINT) AS sort_id, CAST(NULL AS BIGINT) AS table_id, CAST(NULL AS BIGINT) AS sort_key_index, CAST(NULL
    AS VARCHAR) AS expression, CAST(NULL AS VARCHAR) AS dialect, CAST(NULL AS VARCHAR) AS sort_direction, CAST(NULL AS
    VARCHAR) AS null_order
WHERE FALSE;

CREATE VIEW lake.ducklake_macro AS
SELECT CAST(NULL AS BIGINT) AS schema_id, CAST(NULL AS BIGINT) AS macro_id, CAST(NULL AS VARCHAR) AS macro_name, CAST(NULL
    AS BIGINT) AS begin_snapshot, CAST(NULL AS BIGINT) AS end_snapshot
WHERE FALSE;

CREATE VIEW lake.ducklake_macro_impl AS
SELECT CAST(NULL AS BIGINT) AS macro_id, CAST(NULL AS BIGINT) AS impl_id, CAST(NULL AS VARCHAR) AS dialect, CAST(NULL AS
    VARCHAR) AS "sql", CAST(NULL AS VARCHAR) AS "type"
WHERE FALSE;

CREATE VIEW lake.ducklake_macro_parameters AS
SELECT CAST(NULL AS BIGINT) AS macro_id, CAST(NULL AS BIGINT) AS impl_id, CAST(NULL AS BIGINT) AS column_id, CAST(NULL AS
    VARCHAR) AS parameter_name, CAST(NULL AS VARCHAR) AS parameter_type, CAST(NULL AS VARCHAR) AS default_value, CAST(NULL
    AS VARCHAR) AS default_value_type
WHERE FALSE;
