-- A stored row is a chunk: up to 1,024 points of one series, the first in plain columns, the others as steps from it.
WITH points AS (
    SELECT *, rowid AS chunk, unnest(range(points)) AS n, unnest([0] || time_steps) AS time_step,
        unnest([0] || start_steps) AS start_step, unnest([0] || value_steps) AS value_step
    FROM {DUCKLAKE_CATALOG}.{TENANT}.metric_samples_stored
), summed AS (
    SELECT *, coalesce(sum(time_step) OVER up_to, 0) AS later, coalesce(sum(start_step) OVER up_to, 0) AS start_later,
        coalesce(sum(value_step::HUGEINT) OVER up_to, 0) AS more
    FROM points WINDOW up_to AS (PARTITION BY series_id, chunk ORDER BY n)
)
SELECT series_id, make_timestamptz(((epoch_ns(timestamp) + later) // 1000)::BIGINT) AS timestamp,
    make_timestamptz(((epoch_ns(start_time) + start_later) // 1000)::BIGINT) AS start_time,
    CASE WHEN value_scale IS NOT NULL THEN (round(value * 10 ** value_scale) + more::DOUBLE) / 10 ** value_scale
        WHEN n > 0 AND value_list IS NOT NULL THEN value_list[n] ELSE value END AS value,
    (value_int + more)::BIGINT AS value_int, flags
FROM summed
