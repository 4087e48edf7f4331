-- In a body's template U+0001 stands for a number and U+0002 for a word. The digits of a number follow a 1 in the
-- hexadecimal digits of what is stored, less 2^52.
WITH resource AS (
    SELECT schema_url AS resource_schema_url, attributes_rest AS resource_attributes_rest,
        COLUMNS('^(?:attr\.(.*)|resource_id)$') AS 'resource.\1'
    FROM {DUCKLAKE_CATALOG}.{TENANT}.resources
), taken AS (
    SELECT *, regexp_split_to_array(body_template, '[\x01\x02]') AS pieces, regexp_extract_all(body_template, '[\x01\x02]') AS marks,
        string_split(body_words, ' ') AS words,
        [{BODY_NUMBERS}] AS numbers
    FROM {DUCKLAKE_CATALOG}.{TENANT}.logs_stored
)
SELECT record.* EXCLUDE (body_template, body_words, {BODY_NUMBERS}, observed_delay, pieces, marks, words, numbers) REPLACE (
        coalesce(observed_time, timestamp + to_microseconds(observed_delay // 1000)) AS observed_time,
        coalesce(body, list_aggregate(list_transform(range(1, len(pieces) + 1), lambda i: pieces[i] || CASE marks[i]
            WHEN chr(1) THEN substr(printf('%x', numbers[len(list_filter(marks[1:i], lambda m: m = chr(1)))]::BIGINT - (1::BIGINT << 52)), 2)
            WHEN chr(2) THEN words[len(list_filter(marks[1:i], lambda m: m = chr(2)))]
            ELSE '' END), 'string_agg', '')) AS body),
    resource.* EXCLUDE ("resource.")
FROM taken AS record
LEFT JOIN resource ON resource."resource." = record.resource_id
