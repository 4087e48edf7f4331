-- Deletions that were asked for, and what retention owes. Keep in step with ../postgres/0002_deletion.up.sql.
-- Times are nanoseconds since the Unix epoch; sizes are bytes.

-- A deletion that was asked for. Pending until no query finds a matching row, done until no object holds one, then verified.
CREATE TABLE deletion (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('everything', 'trace', 'where')),
    argument TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'verified', 'failed')),
    error TEXT NOT NULL DEFAULT '',
    requested_at INTEGER NOT NULL,
    done_at INTEGER,
    verified_at INTEGER,
    -- What there was when it was done: objects up to these may hold rows that compaction had moved on before.
    last_segment INTEGER NOT NULL DEFAULT 0,
    last_sequence INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX deletion_open ON deletion (id) WHERE state IN ('pending', 'done');

-- How far a deletion is in each dataset that it is about.
CREATE TABLE deletion_dataset (
    deletion_id INTEGER NOT NULL REFERENCES deletion (id),
    kind INTEGER NOT NULL,
    rows_deleted INTEGER NOT NULL DEFAULT 0,
    bytes_read INTEGER NOT NULL DEFAULT 0,
    bytes_written INTEGER NOT NULL DEFAULT 0,
    scanned_at INTEGER,
    PRIMARY KEY (deletion_id, kind)
) WITHOUT ROWID;

-- The objects that hold rows which a deletion took away.
CREATE TABLE deletion_object (
    deletion_id INTEGER NOT NULL REFERENCES deletion (id),
    path TEXT NOT NULL,
    byte_size INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (deletion_id, path)
) WITHOUT ROWID;
CREATE INDEX deletion_object_path ON deletion_object (path) WHERE removed = 0;

-- What retention has done for a dataset, for good.
CREATE TABLE retention_state (
    dataset_id INTEGER PRIMARY KEY REFERENCES dataset (id),
    rows_deleted INTEGER NOT NULL DEFAULT 0,
    bytes_deleted INTEGER NOT NULL DEFAULT 0,
    proven_at INTEGER
);

-- Bytes that retention took from a dataset and that are still in the store: other rows share the object, or its grace lasts.
CREATE TABLE retention_debt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset_id INTEGER NOT NULL REFERENCES dataset (id),
    kind TEXT NOT NULL CHECK (kind IN ('segment', 'part')),
    object_id INTEGER NOT NULL,
    byte_size INTEGER NOT NULL,
    expired_at INTEGER NOT NULL
);
CREATE INDEX retention_debt_object ON retention_debt (kind, object_id);
CREATE INDEX retention_debt_dataset ON retention_debt (dataset_id);
