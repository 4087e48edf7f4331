-- Objects that queries do without, and who may use this catalog. Keep in step with ../sqlite/0003_quarantine.up.sql.

-- A slice or part that is damaged: queries leave it out and say so, compaction does not touch it. It goes with what it names.
CREATE TABLE quarantine (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slice_id BIGINT UNIQUE REFERENCES segment_slice (id) ON DELETE CASCADE,
    part_id BIGINT UNIQUE REFERENCES part (id) ON DELETE CASCADE,
    reason TEXT NOT NULL,
    quarantined_at BIGINT NOT NULL,
    CHECK ((slice_id IS NULL) <> (part_id IS NULL))
);

-- The oldest version that a program must know to work on these tables as they are: one row.
CREATE TABLE catalog_reader (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    min_version BIGINT NOT NULL
);
INSERT INTO catalog_reader (id, min_version) VALUES (1, 3);
