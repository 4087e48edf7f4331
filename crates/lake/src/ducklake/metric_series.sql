-- One row per id, the newest.
SELECT * FROM {DUCKLAKE_CATALOG}.{TENANT}.metric_series_stored
QUALIFY row_number() OVER (PARTITION BY series_id ORDER BY seen_at DESC) = 1
