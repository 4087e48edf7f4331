-- A parent in the same block of {BLOCK_ROWS} rows is stored as its place among the rows of its trace there.
WITH resource AS (
    SELECT schema_url AS resource_schema_url, attributes_rest AS resource_attributes_rest,
        COLUMNS('^(?:attr\.(.*)|resource_id)$') AS 'resource.\1'
    FROM {DUCKLAKE_CATALOG}.{TENANT}.resources
), placed AS (
    SELECT filename AS file, file_row_number // {BLOCK_ROWS} AS block, trace_id AS trace, span_id AS id,
        row_number() OVER (PARTITION BY trace_id, filename, file_row_number // {BLOCK_ROWS} ORDER BY file_row_number) - 1 AS place
    FROM {DUCKLAKE_CATALOG}.{TENANT}.spans_stored
)
SELECT span.* EXCLUDE (parent_ordinal) REPLACE (coalesce(parent.id, span.parent_span_id) AS parent_span_id),
    resource.* EXCLUDE ("resource.")
FROM {DUCKLAKE_CATALOG}.{TENANT}.spans_stored AS span
LEFT JOIN placed AS parent
    ON parent.trace = span.trace_id AND parent.file = span.filename AND parent.block = span.file_row_number // {BLOCK_ROWS}
    AND parent.place = span.parent_ordinal
LEFT JOIN resource ON resource."resource." = span.resource_id
