-- Chunks, as those of metric_samples. Counts wrap at 2^64.
WITH resource AS (
    SELECT schema_url AS resource_schema_url, attributes_rest AS resource_attributes_rest,
        COLUMNS('^(?:attr\.(.*)|resource_id)$') AS 'resource.\1'
    FROM {DUCKLAKE_CATALOG}.{TENANT}.resources
), points AS (
    SELECT *, rowid AS chunk, unnest(range(points)) AS n, unnest([0] || time_steps) AS time_step,
        unnest([0] || start_steps) AS start_step, unnest([0] || count_steps) AS count_step, unnest([0] || sum_steps) AS sum_step,
        unnest([0] || min_steps) AS min_step, unnest([0] || max_steps) AS max_step
    FROM {DUCKLAKE_CATALOG}.{TENANT}.metric_histograms_stored
), summed AS (
    SELECT *, coalesce(sum(time_step) OVER up_to, 0) AS later, coalesce(sum(start_step) OVER up_to, 0) AS start_later,
        sum(count_step) OVER up_to AS count_more, coalesce(sum(sum_step) OVER up_to, 0) AS sum_more,
        coalesce(sum(min_step) OVER up_to, 0) AS min_more, coalesce(sum(max_step) OVER up_to, 0) AS max_more,
        -- Of each bucket the sum of its first n steps.
        list_transform(bucket_counts, lambda c, b: ((c::HUGEINT
            + coalesce(list_sum(bucket_steps[(b - 1) * (points - 1) + 1 : (b - 1) * (points - 1) + n]), 0))
            % 18446744073709551616 + 18446744073709551616) % 18446744073709551616) AS buckets
    FROM points WINDOW up_to AS (PARTITION BY series_id, chunk ORDER BY n)
)
SELECT point.series_id, make_timestamptz(((epoch_ns(timestamp) + later) // 1000)::BIGINT) AS timestamp,
    make_timestamptz(((epoch_ns(start_time) + start_later) // 1000)::BIGINT) AS start_time,
    (((count::HUGEINT + CASE WHEN count_steps IS NOT NULL THEN count_more
        WHEN bucket_steps IS NOT NULL THEN list_sum(buckets) - list_sum(bucket_counts) ELSE 0 END)
        % 18446744073709551616 + 18446744073709551616) % 18446744073709551616)::UBIGINT AS count,
    CASE WHEN sum_scale IS NOT NULL THEN (round(sum * 10 ** sum_scale) + sum_more) / 10 ** sum_scale
        WHEN n > 0 AND sum_list IS NOT NULL THEN sum_list[n] ELSE sum END AS sum,
    CASE WHEN min_scale IS NOT NULL THEN (round(min * 10 ** min_scale) + min_more) / 10 ** min_scale
        WHEN n > 0 AND min_list IS NOT NULL THEN min_list[n] ELSE min END AS min,
    CASE WHEN max_scale IS NOT NULL THEN (round(max * 10 ** max_scale) + max_more) / 10 ** max_scale
        WHEN n > 0 AND max_list IS NOT NULL THEN max_list[n] ELSE max END AS max,
    bounds, buckets::UBIGINT[] AS bucket_counts, scale, zero_count, zero_threshold, positive_offset, positive_counts,
    negative_offset, negative_counts, quantiles, quantile_values, flags,
    series.* EXCLUDE (series_id, seen_at), resource.* EXCLUDE ("resource.")
FROM summed AS point
LEFT JOIN {DUCKLAKE_CATALOG}.{TENANT}.metric_series AS series ON series.series_id = point.series_id
LEFT JOIN resource ON resource."resource." = series.resource_id
