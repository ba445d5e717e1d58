-- name: heat
-- The buckets of a floor in a span of time.
SELECT nx, ny, seconds, visits FROM heat
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s
  AND time >= at_us(%(from_us)s) AND time < at_us(%(to_us)s)

-- name: heat_begins
-- The first bucket of a floor.
SELECT us(min(time)) FROM heat WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s

-- name: floor
-- A floor's grid.
SELECT width_m, depth_m, cell_m FROM floor
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s

-- name: people_now
-- Visits that go on, counted.
SELECT count(*) FROM visit
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND ended_at IS NULL AND NOT excluded
  AND seen_at > at_us(%(now)s) - interval '5 minutes'

-- name: people_by_zone
-- How many are in each zone.
SELECT z.zone, count(DISTINCT p.visit_id) FROM zone z
LEFT JOIN (SELECT p.zone, p.visit_id FROM presence p JOIN visit v USING (visit_id)
           WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND v.ended_at IS NULL AND NOT v.excluded
             AND p.left_at IS NULL) p USING (zone)
WHERE z.tenant_id = %(tenant)s AND z.store_id = %(store)s GROUP BY z.zone ORDER BY z.zone

-- name: nodes_now
-- How many nodes are online, of how many.
SELECT count(*) FILTER (WHERE state = 'online'), count(*) FROM node
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NULL

-- name: zone_table
-- Visits, dwell and conversion of each zone: visits that are over from their five minutes, those that go on from what is
-- known of them. Whole five minutes that begin in the span; a visit counts in those in which it first came to the zone.
SELECT z.zone, z.name, z.kind, d.visits, d.mean, d.median,
       CASE WHEN z.categories <> '{}' THEN c.converted / nullif(d.visits, 0)::float8 END
FROM zone z
CROSS JOIN LATERAL (
    SELECT count(*) AS visits, avg(dwell_s)::float8 AS mean,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY dwell_s)::float8 AS median
    FROM (SELECT unnest(r.dwells) AS dwell_s FROM zone_5min r
          WHERE r.tenant_id = %(tenant)s AND r.store_id = %(store)s AND r.zone = z.zone
            AND r.time >= at_us(%(from_us)s) AND r.time < at_us(%(to_us)s)
          UNION ALL
          SELECT sum(extract(epoch FROM coalesce(p.left_at, v.seen_at) - p.entered_at))::real
          FROM visit v JOIN presence p USING (visit_id)
          WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND v.ended_at IS NULL AND NOT v.excluded
            AND p.zone = z.zone
          GROUP BY v.visit_id
          HAVING date_bin('5 minutes', min(p.entered_at), 'epoch') >= at_us(%(from_us)s)
             AND date_bin('5 minutes', min(p.entered_at), 'epoch') < at_us(%(to_us)s)) dwells) d
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.converted), 0) AS converted FROM zone_5min r
    WHERE r.tenant_id = %(tenant)s AND r.store_id = %(store)s AND r.zone = z.zone
      AND r.time >= at_us(%(from_us)s) AND r.time < at_us(%(to_us)s)) c
WHERE z.tenant_id = %(tenant)s AND z.store_id = %(store)s
ORDER BY z.zone

-- name: tracks
-- Tracks of enrolled assets.
SELECT label, at, x_m, y_m, spread_m FROM asset_track(%(store)s, at_us(%(from_us)s), at_us(%(to_us)s))
