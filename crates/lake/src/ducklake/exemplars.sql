WITH resource AS (
    SELECT schema_url AS resource_schema_url, attributes_rest AS resource_attributes_rest,
        COLUMNS('^(?:attr\.(.*)|resource_id)$') AS 'resource.\1'
    FROM {DUCKLAKE_CATALOG}.{TENANT}.resources
)
SELECT exemplar.* REPLACE (coalesce(value, value_int::DOUBLE) AS value), series.* EXCLUDE (series_id, seen_at),
    resource.* EXCLUDE ("resource.")
FROM {DUCKLAKE_CATALOG}.{TENANT}.exemplars_stored AS exemplar
LEFT JOIN {DUCKLAKE_CATALOG}.{TENANT}.metric_series AS series ON series.series_id = exemplar.series_id
LEFT JOIN resource ON resource."resource." = series.resource_id
