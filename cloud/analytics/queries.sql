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
-- Visits, dwell and conversion of each zone: a visit converts if its receipt holds a category of the zone's planogram.
WITH stay AS (
    SELECT p.zone, p.visit_id, sum(extract(epoch FROM coalesce(p.left_at, v.seen_at) - p.entered_at)) AS dwell_s
    FROM presence p JOIN visit v USING (visit_id)
    WHERE p.tenant_id = %(tenant)s AND p.store_id = %(store)s AND NOT v.excluded
      AND p.entered_at >= at_us(%(from_us)s) AND p.entered_at < at_us(%(to_us)s)
    GROUP BY p.zone, p.visit_id)
SELECT z.zone, z.name, z.kind, count(s.visit_id), avg(s.dwell_s)::float8,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY s.dwell_s)::float8,
       CASE WHEN z.categories <> '{}' THEN avg((EXISTS (
           SELECT 1 FROM receipt_visit x JOIN receipt_line l USING (receipt_id)
           WHERE x.visit_id = s.visit_id AND l.category = ANY(z.categories)))::int) FILTER (WHERE s.visit_id IS NOT NULL)
       END::float8
FROM zone z LEFT JOIN stay s USING (zone)
WHERE z.tenant_id = %(tenant)s AND z.store_id = %(store)s
GROUP BY z.tenant_id, z.store_id, z.zone ORDER BY z.zone

-- name: tracks
-- Tracks of enrolled assets.
SELECT label, at, x_m, y_m, spread_m FROM asset_track(%(store)s, at_us(%(from_us)s), at_us(%(to_us)s))
