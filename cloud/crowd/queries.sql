-- name: put_count
-- Heads at an instant; the same instant told again corrects it.
INSERT INTO crowd_count (tenant_id, store_id, at, people, counted_by)
VALUES (%(tenant)s, %(store)s, at_us(%(at_us)s), %(people)s, %(by)s)
ON CONFLICT (tenant_id, store_id, at) DO UPDATE SET people = excluded.people, counted_by = excluded.counted_by

-- name: spans
-- What nodes counted, by slots of five minutes that end where a span does: each node's mean, summed over nodes. `units`
-- is the count that people are told by; fewer than five are told as 0 and taken as 2.
SELECT slot, count(*)::float8, sum(units)::float8, sum(radios)::float8, sum(strong)::float8, sum(devices)::float8,
       sum(devices_strong)::float8, sum(frames)::float8
FROM (SELECT (us(time) - 1) / %(span_us)s AS slot, node, avg(radios) AS radios, avg(strong) AS strong,
             avg(devices) AS devices, avg(devices_strong) AS devices_strong, avg(frames) AS frames,
             avg(CASE source WHEN 'stations' THEN devices WHEN 'wifi' THEN greatest(devices_strong, 2)
                 ELSE greatest(strong, 2) END) AS units
      FROM crowd
      WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND source = %(source)s
        AND time > at_us(%(from_us)s) AND time <= at_us(%(to_us)s)
      GROUP BY 1, 2) AS told
GROUP BY slot ORDER BY slot

-- name: spans_at
-- The same of some slots alone.
SELECT slot, count(*)::float8, sum(units)::float8, sum(radios)::float8, sum(strong)::float8, sum(devices)::float8,
       sum(devices_strong)::float8, sum(frames)::float8
FROM unnest(%(slots)s::bigint[]) AS slot
CROSS JOIN LATERAL (
    SELECT node, avg(radios) AS radios, avg(strong) AS strong,
           avg(devices) AS devices, avg(devices_strong) AS devices_strong, avg(frames) AS frames,
           avg(CASE source WHEN 'stations' THEN devices WHEN 'wifi' THEN greatest(devices_strong, 2)
               ELSE greatest(strong, 2) END) AS units
    FROM crowd
    WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND source = %(source)s
      AND time > at_us(slot * %(span_us)s) AND time <= at_us((slot + 1) * %(span_us)s)
    GROUP BY node) AS told
GROUP BY slot ORDER BY slot

-- name: counted
-- Heads that were counted, a row a slot (the mean of several) and source that told something of it, and how much.
SELECT c.source, h.slot, h.people, c.told
FROM (SELECT us(at) / %(span_us)s AS slot, avg(people)::float8 AS people FROM crowd_count
      WHERE tenant_id = %(tenant)s AND store_id = %(store)s
        AND at >= at_us(%(from_us)s) AND at < at_us(%(to_us)s)
      GROUP BY 1) AS h
CROSS JOIN LATERAL (
    SELECT source, count(*) AS told FROM crowd
    WHERE tenant_id = %(tenant)s AND store_id = %(store)s
      AND time > at_us(h.slot * %(span_us)s) AND time <= at_us((h.slot + 1) * %(span_us)s)
    GROUP BY source) AS c
ORDER BY c.source, h.slot

-- name: sources
-- What was listened to in a span of time.
SELECT DISTINCT source FROM crowd
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND time > at_us(%(from_us)s) AND time <= at_us(%(to_us)s)

-- name: days
-- What nodes counted on each day of near Wi-Fi devices: in how many spans, addresses and devices; and who told at all.
SELECT us(time) / 86400000000 AS day, count(*) FILTER (WHERE devices_strong > 0),
       coalesce(sum(strong) FILTER (WHERE devices_strong > 0), 0)::float8, sum(devices_strong)::float8,
       array_agg(DISTINCT node)
FROM crowd
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND source = %(source)s
  AND time > at_us(%(from_us)s) AND time <= at_us(%(to_us)s)
GROUP BY 1 ORDER BY 1

-- name: calibration
-- What the store's counts said when last asked.
SELECT source, us(fitted_at), matched, digest, people_per_device, weight, dispersion, forest, scale, error_people
FROM crowd_calibration WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: put_calibration
-- What they say now.
INSERT INTO crowd_calibration (tenant_id, store_id, source, fitted_at, matched, digest, people_per_device, weight,
                               dispersion, forest, scale, error_people)
VALUES (%(tenant)s, %(store)s, %(source)s, at_us(%(fitted_us)s), %(matched)s, %(digest)s, %(people_per_device)s,
        %(weight)s, %(dispersion)s, %(forest)s, %(scale)s, %(error_people)s)
ON CONFLICT (tenant_id, store_id) DO UPDATE SET source = excluded.source, fitted_at = excluded.fitted_at,
    matched = excluded.matched, digest = excluded.digest, people_per_device = excluded.people_per_device,
    weight = excluded.weight, dispersion = excluded.dispersion, forest = excluded.forest, scale = excluded.scale,
    error_people = excluded.error_people

-- name: stay
-- How long visits that are over lasted: how many, their mean and its standard deviation, seconds.
SELECT count(*), avg(s)::float8, stddev_samp(s)::float8
FROM (SELECT extract(epoch FROM seen_at - started_at) AS s FROM visit
      WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND NOT excluded AND ended_at IS NOT NULL
        AND started_at >= at_us(%(from_us)s) AND started_at < at_us(%(to_us)s)) AS visits
