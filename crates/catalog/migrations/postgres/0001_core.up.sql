-- The core of the catalog. Keep in step with ../sqlite/0001_core.up.sql: same tables, columns and indexes.
-- Times are nanoseconds since the Unix epoch; sizes are bytes.

-- A table of a tenant: one row per tenant and kind of row.
CREATE TABLE dataset (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind BIGINT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    next_row_id BIGINT NOT NULL DEFAULT 0,
    UNIQUE (tenant, kind)
);

-- Schema evolution: a column appears with the first row that has it and stays.
CREATE TABLE dataset_column (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset_id BIGINT NOT NULL REFERENCES dataset (id),
    name TEXT NOT NULL,
    data_type TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    UNIQUE (dataset_id, name)
);

-- One object per group commit.
CREATE TABLE segment (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    byte_size BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    committed_at BIGINT NOT NULL,
    writer TEXT NOT NULL,
    format_version BIGINT NOT NULL
);

-- A byte range of a segment with rows of one dataset. A row here is live; compaction and retention delete it.
CREATE TABLE segment_slice (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    segment_id BIGINT NOT NULL REFERENCES segment (id),
    dataset_id BIGINT NOT NULL REFERENCES dataset (id),
    byte_offset BIGINT NOT NULL,
    byte_length BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    min_ts BIGINT NOT NULL,
    max_ts BIGINT NOT NULL,
    checksum BIGINT NOT NULL
);
CREATE INDEX segment_slice_time ON segment_slice (dataset_id, max_ts);
CREATE INDEX segment_slice_segment ON segment_slice (segment_id);

-- Requests already committed, so that a repeated one leaves one copy.
CREATE TABLE ingest_dedupe (
    tenant TEXT NOT NULL,
    hash BYTEA NOT NULL,
    committed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, hash)
);
CREATE INDEX ingest_dedupe_age ON ingest_dedupe (committed_at);

-- The snapshot sequence of parts: one row, and its history.
CREATE TABLE lake_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    sequence BIGINT NOT NULL
);
INSERT INTO lake_head (id, sequence) VALUES (1, 0);

CREATE TABLE lake_commit (
    seq BIGINT PRIMARY KEY,
    committed_at BIGINT NOT NULL
);
INSERT INTO lake_commit (seq, committed_at) VALUES (0, 0);

-- A Parquet object. Live while end_seq is null; an ended part stays until its object is collected.
CREATE TABLE part (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset_id BIGINT NOT NULL REFERENCES dataset (id),
    level BIGINT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    row_count BIGINT NOT NULL,
    byte_size BIGINT NOT NULL,
    footer_bytes BIGINT NOT NULL,
    min_ts BIGINT NOT NULL,
    max_ts BIGINT NOT NULL,
    index_offset BIGINT NOT NULL,
    index_bytes BIGINT NOT NULL,
    index_entries BIGINT NOT NULL,
    format_version BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    row_id_start BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    begin_seq BIGINT NOT NULL,
    end_seq BIGINT
);
CREATE INDEX part_live ON part (dataset_id, max_ts) WHERE end_seq IS NULL;
CREATE INDEX part_ended ON part (end_seq) WHERE end_seq IS NOT NULL;

-- Pruning statistics of a part, as text.
CREATE TABLE part_stat (
    part_id BIGINT NOT NULL REFERENCES part (id),
    column_name TEXT NOT NULL,
    min_value TEXT NOT NULL,
    max_value TEXT NOT NULL,
    PRIMARY KEY (part_id, column_name)
);

-- Objects to delete from the store once due.
CREATE TABLE gc_queue (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('segment', 'part')),
    object_id BIGINT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    byte_size BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL
);
CREATE INDEX gc_queue_due ON gc_queue (due_at);

-- Who may do work that one process must do alone. The token is the fence: it grows with every change of holder.
CREATE TABLE lease (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
