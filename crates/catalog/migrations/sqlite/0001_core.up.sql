-- The core of the catalog. Keep in step with ../postgres/0001_core.up.sql: same tables, columns and indexes.
-- Times are nanoseconds since the Unix epoch; sizes are bytes.

-- A table of a tenant: one row per tenant and kind of row.
CREATE TABLE dataset (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    next_row_id INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, kind)
);

-- Schema evolution: a column appears with the first row that has it and stays.
CREATE TABLE dataset_column (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    name TEXT NOT NULL,
    data_type TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    UNIQUE (dataset_id, name)
);

-- One object per group commit.
CREATE TABLE segment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    byte_size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,
    writer TEXT NOT NULL,
    format_version INTEGER NOT NULL
);

-- A byte range of a segment with rows of one dataset. A row here is live; compaction and retention delete it.
CREATE TABLE segment_slice (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    segment_id INTEGER NOT NULL REFERENCES segment (id),
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    byte_offset INTEGER NOT NULL,
    byte_length INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    min_ts INTEGER NOT NULL,
    max_ts INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX segment_slice_time ON segment_slice (dataset_id, max_ts);
CREATE INDEX segment_slice_segment ON segment_slice (segment_id);

-- Requests already committed, so that a repeated one leaves one copy.
CREATE TABLE ingest_dedupe (
    tenant TEXT NOT NULL,
    hash BLOB NOT NULL,
    committed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, hash)
) WITHOUT ROWID;
CREATE INDEX ingest_dedupe_age ON ingest_dedupe (committed_at);

-- The snapshot sequence of parts: one row, and its history.
CREATE TABLE lake_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL
);
INSERT INTO lake_head (id, sequence) VALUES (1, 0);

CREATE TABLE lake_commit (
    seq INTEGER PRIMARY KEY,
    committed_at INTEGER NOT NULL
);
INSERT INTO lake_commit (seq, committed_at) VALUES (0, 0);

-- A Parquet object. Live while end_seq is null; an ended part stays until its object is collected.
CREATE TABLE part (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    level INTEGER NOT NULL,
    path TEXT NOT NULL UNIQUE,
    row_count INTEGER NOT NULL,
    byte_size INTEGER NOT NULL,
    footer_bytes INTEGER NOT NULL,
    min_ts INTEGER NOT NULL,
    max_ts INTEGER NOT NULL,
    index_offset INTEGER NOT NULL,
    index_bytes INTEGER NOT NULL,
    index_entries INTEGER NOT NULL,
    format_version INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    row_id_start INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    begin_seq INTEGER NOT NULL,
    end_seq INTEGER
);
CREATE INDEX part_live ON part (dataset_id, max_ts) WHERE end_seq IS NULL;
CREATE INDEX part_ended ON part (end_seq) WHERE end_seq IS NOT NULL;

-- Pruning statistics of a part, as text.
CREATE TABLE part_stat (
    part_id INTEGER NOT NULL REFERENCES part (id),
    column_name TEXT NOT NULL,
    min_value TEXT NOT NULL,
    max_value TEXT NOT NULL,
    PRIMARY KEY (part_id, column_name)
) WITHOUT ROWID;

-- Objects to delete from the store once due.
CREATE TABLE gc_queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('segment', 'part')),
    object_id INTEGER NOT NULL,
    path TEXT NOT NULL UNIQUE,
    byte_size INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL
);
CREATE INDEX gc_queue_due ON gc_queue (due_at);

-- Who may do work that one process must do alone. The token is the fence: it grows with every change of holder.
CREATE TABLE lease (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
