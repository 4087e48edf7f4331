-- Deletions that were asked for, and what retention owes. Keep in step with ../sqlite/0002_deletion.up.sql.
-- Times are nanoseconds since the Unix epoch; sizes are bytes.

-- A deletion that was asked for. Pending until no query finds a matching row, done until no object holds one, then verified.
CREATE TABLE deletion (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('everything', 'trace', 'where')),
    argument TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'verified', 'failed')),
    error TEXT NOT NULL DEFAULT '',
    requested_at BIGINT NOT NULL,
    done_at BIGINT,
    verified_at BIGINT,
    -- What there was when it was done: objects up to these may hold rows that compaction had moved on before.
    last_segment BIGINT NOT NULL DEFAULT 0,
    last_sequence BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX deletion_open ON deletion (id) WHERE state IN ('pending', 'done');

-- How far a deletion is in each dataset that it is about.
CREATE TABLE deletion_dataset (
    deletion_id BIGINT NOT NULL REFERENCES deletion (id),
    kind BIGINT NOT NULL,
    rows_deleted BIGINT NOT NULL DEFAULT 0,
    bytes_read BIGINT NOT NULL DEFAULT 0,
    bytes_written BIGINT NOT NULL DEFAULT 0,
    scanned_at BIGINT,
    PRIMARY KEY (deletion_id, kind)
);

-- The objects that hold rows which a deletion took away.
CREATE TABLE deletion_object (
    deletion_id BIGINT NOT NULL REFERENCES deletion (id),
    path TEXT NOT NULL,
    byte_size BIGINT NOT NULL,
    removed BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (deletion_id, path)
);
CREATE INDEX deletion_object_path ON deletion_object (path) WHERE removed = 0;

-- What retention has done for a dataset, for good.
CREATE TABLE retention_state (
    dataset_id BIGINT PRIMARY KEY REFERENCES dataset (id),
    rows_deleted BIGINT NOT NULL DEFAULT 0,
    bytes_deleted BIGINT NOT NULL DEFAULT 0,
    proven_at BIGINT
);

-- Bytes that retention took from a dataset and that are still in the store: other rows share the object, or its grace lasts.
CREATE TABLE retention_debt (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset_id BIGINT NOT NULL REFERENCES dataset (id),
    kind TEXT NOT NULL CHECK (kind IN ('segment', 'part')),
    object_id BIGINT NOT NULL,
    byte_size BIGINT NOT NULL,
    expired_at BIGINT NOT NULL
);
CREATE INDEX retention_debt_object ON retention_debt (kind, object_id);
CREATE INDEX retention_debt_dataset ON retention_debt (dataset_id);
