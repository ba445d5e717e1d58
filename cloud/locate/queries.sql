-- name: become_locator
-- A number for this process, and the lock that says it lives: whoever finds it free knows that the session is over.
SELECT locator, pg_advisory_lock(4715, locator) FROM (SELECT nextval('locator_locator_id_seq')::int AS locator) n

-- name: add_locator
-- Known only once the lock is held.
INSERT INTO locator (locator_id) VALUES (%(locator)s)

-- name: beat
-- This process lives and its work comes round.
UPDATE locator SET beat_at = clock_timestamp() WHERE locator_id = %(locator)s

-- name: end_silent
-- End the sessions of locators that stopped beating: stopped, cut off, or hanging. What they had begun is undone.
SELECT pg_terminate_backend(k.pid) FROM locator l JOIN pg_locks k
    ON k.locktype = 'advisory' AND k.classid = 4715 AND k.objid = l.locator_id::oid AND k.objsubid = 2
WHERE l.locator_id <> %(locator)s AND l.beat_at < clock_timestamp() - make_interval(secs => %(stale_s)s)
  AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: forget_gone_locators
-- Locators whose session is over, with their leases.
DELETE FROM locator WHERE locator_id <> %(locator)s AND pg_try_advisory_xact_lock(4715, locator_id)

-- name: shares
-- How many stores there are to share, among how many, and whether this process is one of them.
SELECT (SELECT count(*) FROM store), count(*), coalesce(bool_or(locator_id = %(locator)s), false) FROM locator

-- name: take_stores
-- Stores that nobody holds; of two processes that want one, one gets it.
INSERT INTO store_lease (tenant_id, store_id, locator_id)
SELECT tenant_id, store_id, %(locator)s FROM store s
WHERE NOT EXISTS (SELECT FROM store_lease l WHERE (l.tenant_id, l.store_id) = (s.tenant_id, s.store_id))
LIMIT %(room)s
ON CONFLICT DO NOTHING
RETURNING tenant_id, store_id

-- name: release_store
-- A store for another to take.
DELETE FROM store_lease WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: remove_locator
-- This process ends, and its leases with it.
DELETE FROM locator WHERE locator_id = %(locator)s

-- name: floor
-- The store's floor, and how far its story is told.
SELECT f.floor, f.width_m, f.depth_m, f.cell_m, f.radio_map, us(s.located_until)
FROM floor f JOIN store s USING (tenant_id, store_id)
WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY f.floor LIMIT 1

-- name: nodes
-- The nodes on the floor, in the order that the radio map has them.
SELECT node, x_m, y_m, z_m FROM node
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND retired_at IS NULL ORDER BY node

-- name: zones
-- The zones on the floor.
SELECT zone, polygon FROM zone
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s ORDER BY zone

-- name: beacons
-- Enrolled beacons that move: assets and staff badges.
SELECT subject, beacon_id FROM beacon
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND role IN ('asset', 'staff') AND retired_at IS NULL

-- name: open_visits
-- Visits that an earlier locator left open.
SELECT visit_id, member_id, beacon_id, excluded, us(started_at), us(seen_at)
FROM visit WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND ended_at IS NULL

-- name: open_presence
-- Zone presence that an earlier locator left open.
SELECT p.presence_id, p.visit_id, p.zone, p.source, us(p.entered_at), p.trusted FROM presence p JOIN visit v USING (visit_id)
WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND v.ended_at IS NULL AND p.left_at IS NULL

-- name: queued
-- Batches that were not read yet, in the order of their arrival.
SELECT queue_id, node, payload FROM locate_queue
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND queue_id <> ALL(%(held)s)
ORDER BY queue_id LIMIT 2000

-- name: dequeue
-- Batches whose story is told.
DELETE FROM locate_queue WHERE queue_id = ANY(%(ids)s)

-- name: visit_ids
-- Numbers for visits to come.
SELECT nextval('visit_visit_id_seq') FROM generate_series(1, 50)

-- name: presence_ids
-- Numbers for presences to come.
SELECT nextval('presence_presence_id_seq') FROM generate_series(1, 50)

-- name: begin_visit
-- A visit began.
INSERT INTO visit (visit_id, tenant_id, store_id, member_id, beacon_id, excluded, started_at, seen_at)
VALUES (%(visit)s, %(tenant)s, %(store)s, %(member)s, %(beacon)s, %(excluded)s, at_us(%(started)s), at_us(%(seen)s))

-- name: see_visit
-- A visit goes on.
UPDATE visit SET seen_at = at_us(%(seen)s) WHERE visit_id = %(visit)s

-- name: end_visit
-- A visit is over.
UPDATE visit SET seen_at = at_us(%(seen)s), ended_at = at_us(%(seen)s) WHERE visit_id = %(visit)s

-- name: count_visits
-- Visits that are over, counted once in each zone they were in, in the five minutes in which they first came there. In
-- the order of the rows, like the worker that counts conversions: so the two wait for each other and never both ways.
INSERT INTO zone_5min AS r (tenant_id, store_id, zone, time, visits, seconds, dwells)
SELECT %(tenant)s, %(store)s, zone, time, count(*), sum(dwell), array_agg(dwell)
FROM (SELECT p.zone, date_bin('5 minutes', min(p.entered_at), 'epoch') AS time,
             sum(extract(epoch FROM coalesce(p.left_at, v.seen_at) - p.entered_at))::real AS dwell
      FROM visit v JOIN presence p USING (visit_id)
      WHERE v.visit_id = ANY(%(visits)s) AND NOT v.excluded GROUP BY v.visit_id, p.zone) stay
GROUP BY zone, time ORDER BY zone, time
ON CONFLICT (tenant_id, store_id, zone, time) DO UPDATE
SET visits = r.visits + excluded.visits, seconds = r.seconds + excluded.seconds, dwells = r.dwells || excluded.dwells

-- name: enter
-- A presence began.
INSERT INTO presence (presence_id, tenant_id, store_id, visit_id, zone, source, entered_at, confidence)
VALUES (%(presence)s, %(tenant)s, %(store)s, %(visit)s, %(zone)s, %(source)s, at_us(%(at)s), %(confidence)s)

-- name: revise
-- A presence began at another instant than was told at first; what it may trigger moves with it.
WITH moved AS (UPDATE presence SET entered_at = at_us(%(at)s) WHERE presence_id = %(presence)s RETURNING presence_id)
UPDATE trigger_due d SET due_at = at_us(%(at)s) + make_interval(secs => c.dwell_s)
FROM moved m, campaign c
WHERE d.presence_id = m.presence_id AND (c.tenant_id, c.campaign) = (d.tenant_id, d.campaign)

-- name: leave
-- A presence ended; hindsight may not put the end before the beginning.
UPDATE presence SET left_at = greatest(at_us(%(at)s), entered_at) WHERE presence_id = %(presence)s

-- name: arm_triggers
-- Presences of members in the zones of running campaigns: when each campaign's dwell will be reached.
INSERT INTO trigger_due (presence_id, tenant_id, campaign, store_id, visit_id, member_id, due_at)
SELECT p.presence_id, p.tenant_id, c.campaign, p.store_id, p.visit_id, v.member_id,
       p.entered_at + make_interval(secs => c.dwell_s)
FROM presence p JOIN visit v USING (visit_id)
     JOIN campaign c ON (c.tenant_id, c.store_id, c.zone) = (p.tenant_id, p.store_id, p.zone)
WHERE p.presence_id = ANY(%(presences)s) AND v.member_id IS NOT NULL AND NOT v.excluded AND c.state = 'running'
ON CONFLICT DO NOTHING

-- name: ensure_day
-- Make the day's partition of positions.
SELECT ensure_day('position', at_us(%(at)s)::date)

-- name: trust
-- A stay became sure enough to act upon, or doubtful.
UPDATE presence SET trusted = %(trusted)s WHERE presence_id = %(presence)s

-- name: copy_positions
-- Positions in bulk.
COPY position (time, visit_id, x_m, y_m, spread_m) FROM STDIN

-- name: told
-- How far the story is told.
UPDATE store SET located_until = at_us(%(until)s), positions_told = positions_told + %(positions)s
WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: announce
-- Wake the worker and the streams of people now.
SELECT pg_notify('aisle_due', ''), pg_notify('aisle_now', %(tenant)s || '/' || %(store)s)
