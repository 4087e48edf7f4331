-- One row per id, the newest.
SELECT * FROM {DUCKLAKE_CATALOG}.{TENANT}.resources_stored
QUALIFY row_number() OVER (PARTITION BY resource_id ORDER BY seen_at DESC) = 1
