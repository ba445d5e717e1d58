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
SELECT z.zone, count(DISTINCT p.visit_id) FROM zones_at(%(tenant)s, %(store)s, at_us(%(now)s)) z
LEFT JOIN (SELECT p.zone, p.visit_id FROM presence p JOIN visit v USING (visit_id)
           WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND v.ended_at IS NULL AND NOT v.excluded
             AND p.left_at IS NULL) p USING (zone)
GROUP BY z.zone ORDER BY z.zone

-- name: nodes_now
-- How many nodes are online, of how many.
SELECT count(*) FILTER (WHERE state = 'online'), count(*) FROM node
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NULL

-- name: zone_table
-- Visits, dwell and conversion of each zone: visits that are over from their five minutes, those that go on from what is
-- known of them. Whole five minutes that begin in the span; a visit counts in those in which it first came to the zone.
-- The zones are those of the plan that held when the span ended.
SELECT z.zone, z.name, z.kind, d.visits, d.mean, d.median,
       CASE WHEN z.categories <> '{}' THEN c.converted / nullif(d.visits, 0)::float8 END
FROM zones_at(%(tenant)s, %(store)s, at_us(%(to_us)s - 1)) z
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
ORDER BY z.zone

-- name: tracks
-- Tracks of enrolled assets.
SELECT label, at, x_m, y_m, spread_m FROM asset_track(%(store)s, at_us(%(from_us)s), at_us(%(to_us)s))

-- name: stores_to_tell
-- Stores whose story is told: how far, since when there are visits, and the last day that was told.
SELECT s.tenant_id, s.store_id, s.tz, us(s.located_until), us(v.first), d.last
FROM store s
LEFT JOIN LATERAL (SELECT min(started_at) AS first FROM visit
                   WHERE tenant_id = s.tenant_id AND store_id = s.store_id
                     AND started_at > s.located_until - interval '31 days') v ON true
LEFT JOIN LATERAL (SELECT max(day) AS last FROM store_day
                   WHERE tenant_id = s.tenant_id AND store_id = s.store_id) d ON true
WHERE s.located_until IS NOT NULL ORDER BY s.tenant_id, s.store_id

-- name: lock_store_days
-- One worker at a time tells a store's days; the others leave it.
SELECT pg_try_advisory_xact_lock(hashtext('tell_days'), hashtext(%(tenant)s || '/' || %(store)s))

-- name: store_day_told
-- Whether a day is told to its end.
SELECT 1 FROM store_day WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND day = %(day)s

-- name: floors
-- The floors and their grids.
SELECT floor, width_m, depth_m, cell_m FROM floor WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY floor

-- name: told_hours
-- What was told of a day so far.
SELECT closed, by_hour, told FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND day = %(day)s

-- name: put_heat_day
-- What is told of a day.
INSERT INTO heat_day (tenant_id, store_id, floor, day, begins_at, ends_at, nx, ny, cell_m, closed, by_hour, told, seconds,
                      stops, people)
VALUES (%(tenant)s, %(store)s, %(floor)s, %(day)s, at_us(%(begins_us)s), at_us(%(ends_us)s), %(nx)s, %(ny)s, %(cell_m)s,
        %(closed)s, %(by_hour)s, %(told)s, %(seconds)s, %(stops)s, %(people)s)
ON CONFLICT (tenant_id, store_id, floor, day) DO UPDATE SET nx = excluded.nx, ny = excluded.ny, cell_m = excluded.cell_m,
    closed = excluded.closed, by_hour = excluded.by_hour, told = excluded.told, seconds = excluded.seconds,
    stops = excluded.stops, people = excluded.people

-- name: visit_rule
-- What a visit is in this store, where it has a rule of its own.
SELECT ends_after_s, at_midnight, shortest_s, longest_s, engaged_s FROM visit_rule
WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: walked
-- Where people were on a day, a row a visit: 16 bytes a position, its time, x and y as the server sends them. Nobody is in
-- the store for longer than the longest visit: whoever is, works there.
SELECT (dense_rank() OVER (ORDER BY v.member_id) - 1)::bigint, p.way
FROM visit v CROSS JOIN LATERAL (
    SELECT string_agg(timestamptz_send(p.time) || float4send(p.x_m) || float4send(p.y_m), ''::bytea ORDER BY p.time) AS way
    FROM position p WHERE p.visit_id = v.visit_id
      AND p.time >= greatest(v.started_at, at_us(%(begins_us)s))
      AND p.time < least(at_us(%(ends_us)s), v.started_at + make_interval(secs => %(longest_s)s))) p
WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND NOT v.excluded AND v.member_id IS NOT NULL
  AND v.started_at < at_us(%(ends_us)s) AND v.started_at > at_us(%(begins_us)s) - interval '1 day'
  AND v.seen_at >= at_us(%(begins_us)s) AND p.way IS NOT NULL

-- name: stays
-- A day's stays, and the day's before it, that visits may have begun with: who, from when to when, zones, whether a receipt
-- belongs to it, and whether the person was here before: asked only of who agreed to be known again.
SELECT (dense_rank() OVER (ORDER BY v.member_id) - 1)::bigint, us(v.started_at), us(coalesce(v.ended_at, v.seen_at)),
       coalesce((SELECT jsonb_agg(jsonb_build_array(p.zone, z.kind, us(p.entered_at),
                        extract(epoch FROM coalesce(p.left_at, v.seen_at) - p.entered_at)) ORDER BY p.entered_at)
                 FROM presence p JOIN zone z USING (tenant_id, store_id, zone) WHERE p.visit_id = v.visit_id), '[]'),
       EXISTS (SELECT FROM receipt_visit x WHERE x.visit_id = v.visit_id),
       CASE WHEN c.granted THEN EXISTS (
           SELECT FROM visit b WHERE b.tenant_id = v.tenant_id AND b.member_id = v.member_id AND b.store_id = v.store_id
             AND b.started_at < at_us(%(begins_us)s)) END
FROM visit v LEFT JOIN consent_now c
    ON (c.tenant_id, c.member_id, c.purpose) = (v.tenant_id, v.member_id, 'profiling')
WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND NOT v.excluded AND v.member_id IS NOT NULL
  AND v.started_at < at_us(%(ends_us)s) AND v.started_at > at_us(%(begins_us)s) - interval '1 day'

-- name: put_store_day
-- A day is over and told.
INSERT INTO store_day (tenant_id, store_id, day, begins_at, ends_at, people, stages, newcomers, returning_people, receipts,
                       joined)
SELECT %(tenant)s, %(store)s, %(day)s, at_us(%(begins_us)s), at_us(%(ends_us)s), %(people)s, %(stages)s, %(newcomers)s,
       %(returning)s, count(*), count(*) FILTER (WHERE join_state = 'joined')
FROM receipt WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND kind = 'sale'
  AND at >= at_us(%(begins_us)s) AND at < at_us(%(ends_us)s)

-- name: put_flow
-- Moves from one zone to another on a day.
INSERT INTO flow_day (tenant_id, store_id, day, from_zone, to_zone, moves)
VALUES (%(tenant)s, %(store)s, %(day)s, %(from)s, %(to)s, %(moves)s)

-- name: told_days
-- Whole days of a floor that lie in a span and are told: seconds in each cell.
SELECT nx, ny, seconds FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND seconds IS NOT NULL
  AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s)

-- name: told_stops
-- The same: where visits first stood still.
SELECT nx, ny, stops FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND stops IS NOT NULL
  AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s)

-- name: told_people
-- The same: how many were in each tile, and how long.
SELECT nx, ny, by_hour, people FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND people IS NOT NULL
  AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s)

-- name: told_parts
-- Days that lie in a span in part, or are not over.
SELECT nx, ny, us(begins_at), by_hour, seconds FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s
  AND begins_at < at_us(%(to_us)s) AND ends_at > at_us(%(from_us)s)
  AND NOT (seconds IS NOT NULL AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s))

-- name: told_grid
-- The grid of the newest day in a span: a floor that was measured anew since is shown as it was then.
SELECT nx, ny, cell_m FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s
  AND begins_at < at_us(%(to_us)s) AND ends_at > at_us(%(from_us)s)
ORDER BY day DESC LIMIT 1

-- name: told_since
-- The first hour that is told of a floor, and where the last one ends.
SELECT us(min(begins_at)), us(max(least(ends_at, begins_at + closed * interval '1 hour'))) FROM heat_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s

-- name: panel
-- How much of the store the told days in a span know: visits, sales, and sales whose visit is known.
SELECT count(*), coalesce(sum(stages[2]), 0), coalesce(sum(receipts), 0), coalesce(sum(joined), 0) FROM store_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s
  AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s)

-- name: flows
-- Moves between zones on whole days in a span.
SELECT f.from_zone, f.to_zone, sum(f.moves) FROM flow_day f JOIN store_day d USING (tenant_id, store_id, day)
WHERE d.tenant_id = %(tenant)s AND d.store_id = %(store)s
  AND d.begins_at >= at_us(%(from_us)s) AND d.ends_at <= at_us(%(to_us)s)
GROUP BY 1, 2 ORDER BY 1, 2

-- name: funnel
-- How far visits went on whole days in a span, and how many people were new, of the days where that may be told.
SELECT coalesce(sum(stages[1]), 0), coalesce(sum(stages[2]), 0), coalesce(sum(stages[3]), 0), coalesce(sum(stages[4]), 0),
       coalesce(sum(stages[5]), 0), sum(newcomers), sum(returning_people)
FROM store_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s
  AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s)

-- name: whole_days
-- Told days that lie in a span: how many, their visits, and where they begin and end.
SELECT count(*), coalesce(sum(stages[2]), 0)::int, us(min(begins_at)), us(max(ends_at)) FROM store_day
WHERE tenant_id = %(tenant)s AND store_id = %(store)s
  AND begins_at >= at_us(%(from_us)s) AND ends_at <= at_us(%(to_us)s)
