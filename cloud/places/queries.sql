-- name: stores
-- The tenant's stores.
SELECT store_id, name, tz, demo FROM store WHERE tenant_id = %(tenant)s ORDER BY name

-- name: store
-- One store.
SELECT store_id, name, tz, demo, to_char(opens, 'HH24:MI'), to_char(closes, 'HH24:MI'), us(located_until)
FROM store WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: make_store
-- A store that is not there yet.
INSERT INTO store (tenant_id, store_id, name, tz) VALUES (%(tenant)s, %(store)s, %(name)s, %(tz)s)
ON CONFLICT (tenant_id, store_id) DO NOTHING

-- name: set_store
-- What the plan says of the store itself.
UPDATE store SET name = %(name)s, tz = %(tz)s, opens = %(opens)s::time, closes = %(closes)s::time, demo = %(demo)s
WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: lock_store
-- One change of a store's plan at a time.
SELECT FROM store WHERE tenant_id = %(tenant)s AND store_id = %(store)s FOR UPDATE

-- name: plan_at
-- The version of the plan that is valid at an instant.
SELECT version, body FROM plan
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND valid_from <= at_us(%(at)s)
ORDER BY valid_from DESC, version DESC LIMIT 1

-- name: versions
-- All versions, by the instant from which they are valid.
SELECT version, us(valid_from), us(lead(valid_from) OVER (ORDER BY valid_from, version)), us(made_at), made_by FROM plan
WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY valid_from, version

-- name: newest_version
-- The number of the version that was made last.
SELECT max(version) FROM plan WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: add_version
-- A new version of a plan.
INSERT INTO plan (tenant_id, store_id, version, valid_from, body, made_at, made_by, applied)
VALUES (%(tenant)s, %(store)s, %(version)s, at_us(%(valid_from)s), %(body)s, at_us(%(now)s), %(by)s, %(applied)s)

-- name: due_plans
-- Stores with a version whose instant has come; a store that is being changed is left for the next look.
SELECT p.tenant_id, p.store_id FROM store s JOIN plan p USING (tenant_id, store_id)
WHERE NOT p.applied AND p.valid_from <= at_us(%(now)s) LIMIT 100 FOR UPDATE OF s SKIP LOCKED

-- name: set_applied
-- Versions whose instant has come are dealt with.
UPDATE plan SET applied = true
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND NOT applied AND valid_from <= at_us(%(now)s)

-- name: move_retired
-- A node that is retired has no place; its row needs a floor that is still there.
UPDATE node SET floor = %(floor)s
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NOT NULL AND floor <> ALL(%(floors)s)

-- name: floor_keys
-- The floors that the store has now.
SELECT floor FROM floor WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY floor

-- name: drop_floors
-- Floors that the new plan no longer has; heat and surveys of theirs stay.
DELETE FROM floor WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor <> ALL(%(floors)s)

-- name: put_floor
-- Make or change a floor; another size makes the old survey useless.
INSERT INTO floor (tenant_id, store_id, floor, name, width_m, depth_m, cell_m)
VALUES (%(tenant)s, %(store)s, %(floor)s, %(name)s, %(width_m)s, %(depth_m)s, %(cell_m)s)
ON CONFLICT (tenant_id, store_id, floor) DO UPDATE
SET name = excluded.name, width_m = excluded.width_m, depth_m = excluded.depth_m, cell_m = excluded.cell_m,
    radio_map = CASE WHEN (floor.width_m, floor.depth_m, floor.cell_m)
                        = (excluded.width_m, excluded.depth_m, excluded.cell_m) THEN floor.radio_map END

-- name: put_radio_map
-- A floor's fitted radio map.
UPDATE floor SET radio_map = %(radio_map)s
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s

-- name: drop_zones
-- Zones that the new plan no longer has.
DELETE FROM zone WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND zone <> ALL(%(zones)s)

-- name: put_zone
-- Make or change a zone.
INSERT INTO zone (tenant_id, store_id, zone, floor, name, kind, polygon, categories)
VALUES (%(tenant)s, %(store)s, %(zone)s, %(floor)s, %(name)s, %(kind)s, %(polygon)s, %(categories)s)
ON CONFLICT (tenant_id, store_id, zone) DO UPDATE
SET floor = excluded.floor, name = excluded.name, kind = excluded.kind, polygon = excluded.polygon,
    categories = excluded.categories

-- name: retire_nodes
-- Nodes that the new plan no longer has: they may not speak any more, what they told stays.
UPDATE node SET retired_at = now()
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NULL AND node <> ALL(%(nodes)s)

-- name: put_node
-- Place a node. A node's name belongs to one store of the tenant.
INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m, zone)
VALUES (%(tenant)s, %(node)s, %(store)s, %(floor)s, %(x_m)s, %(y_m)s, %(z_m)s, %(zone)s)
ON CONFLICT (tenant_id, node) DO UPDATE
SET floor = excluded.floor, x_m = excluded.x_m, y_m = excluded.y_m, z_m = excluded.z_m, zone = excluded.zone,
    retired_at = NULL
WHERE node.store_id = excluded.store_id
RETURNING node

-- name: retire_beacons
-- Beacons that the new plan no longer has: nobody is recognised by them any more, visits of theirs stay.
UPDATE beacon SET retired_at = now()
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NULL AND subject <> ALL(%(subjects)s)

-- name: put_beacon
-- Register a beacon.
INSERT INTO beacon (tenant_id, store_id, subject, uuid, major, minor, role, label, floor, x_m, y_m)
VALUES (%(tenant)s, %(store)s, %(subject)s, %(uuid)s, %(major)s, %(minor)s, %(role)s, %(label)s, %(floor)s,
        %(x_m)s, %(y_m)s)
ON CONFLICT (tenant_id, store_id, subject) DO UPDATE
SET role = excluded.role, label = excluded.label, floor = excluded.floor, x_m = excluded.x_m, y_m = excluded.y_m,
    retired_at = NULL

-- name: add_survey
-- A walk over a floor.
INSERT INTO survey (tenant_id, store_id, floor, version, taken_at, taken_by, points, nodes, places, sd_db, radio_map)
VALUES (%(tenant)s, %(store)s, %(floor)s, %(version)s, at_us(%(now)s), %(by)s, %(points)s, %(nodes)s, %(places)s,
        %(sd_db)s, %(radio_map)s)
RETURNING survey_id

-- name: last_survey
-- The newest walk over a floor.
SELECT nodes, radio_map FROM survey
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s ORDER BY survey_id DESC LIMIT 1

-- name: surveys
-- Walks over a store's floors, the newest first.
SELECT survey_id, floor, version, us(taken_at), taken_by, places, jsonb_array_length(nodes), sd_db FROM survey
WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY survey_id DESC LIMIT 200

-- name: add_image
-- A floor's picture; the same one again is the same row.
INSERT INTO plan_image (tenant_id, store_id, image, media_type, width_px, height_px, content)
VALUES (%(tenant)s, %(store)s, %(image)s, %(media_type)s, %(width_px)s, %(height_px)s, %(content)s)
ON CONFLICT (tenant_id, store_id, image) DO NOTHING

-- name: image
-- A picture.
SELECT media_type, content FROM plan_image
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND image = %(image)s

-- name: images
-- Which of these pictures are there, and their size.
SELECT image, width_px, height_px FROM plan_image
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND image = ANY(%(images)s)

-- name: findings
-- What the checks found, the open and the newest first.
SELECT finding_id, kind, about, says, evidence, us(first_at), us(last_at), us(closed_at), closed_by FROM finding
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND (closed_at IS NULL OR %(closed)s)
ORDER BY closed_at IS NULL DESC, last_at DESC LIMIT 1000

-- name: close_finding
-- Somebody mended it.
UPDATE finding SET closed_at = at_us(%(now)s), closed_by = %(by)s
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND finding_id = %(finding)s AND closed_at IS NULL

-- name: plan_changed
-- The locator holds the plan in memory: tell it to read it again.
SELECT pg_notify('aisle_plan', %(tenant)s || '/' || %(store)s)

-- name: heard
-- What each node heard of an enrolled asset beacon.
SELECT node, mean_dbm, sd_db, n FROM asset_heard(%(store)s, %(subject)s, at_us(%(from_us)s), at_us(%(to_us)s))

-- name: found
-- A finding, once while it is open. What was closed after its last evidence is not found again by that evidence.
INSERT INTO finding AS f (tenant_id, store_id, kind, about, says, evidence, first_at, last_at)
SELECT %(tenant)s, %(store)s, %(kind)s, %(about)s, %(says)s, %(evidence)s, at_us(%(from)s), at_us(%(to)s)
WHERE NOT EXISTS (SELECT FROM finding c WHERE (c.tenant_id, c.store_id, c.kind, c.about)
                  = (%(tenant)s, %(store)s, %(kind)s, %(about)s) AND c.closed_at > at_us(%(from)s))
ON CONFLICT (tenant_id, store_id, kind, about) WHERE closed_at IS NULL DO UPDATE
SET says = excluded.says, evidence = excluded.evidence, last_at = greatest(f.last_at, excluded.last_at)

-- name: hung_nodes
-- Where all nodes hang.
SELECT tenant_id, store_id, node, floor, x_m, y_m FROM node WHERE retired_at IS NULL

-- name: registered_heard
-- Which nodes of its tenant heard each registered beacon, minute by minute and address by address.
SELECT b.tenant_id, b.store_id, b.beacon_id, k.store_id, k.node, s.radio,
       (extract(epoch FROM date_bin('1 minute', s.time, 'epoch')) / 60)::bigint AS minute,
       (sum(s.rssi::bigint * s.count) / sum(s.count) / 10.0)::float8 AS dbm
FROM sighting s
     JOIN beacon b ON b.subject = s.subject AND b.retired_at IS NULL
     JOIN node k ON k.node_key = s.node_key AND k.tenant_id = b.tenant_id
WHERE s.kind = 2 AND s.time > at_us(%(from)s) AND s.time <= at_us(%(to)s)
GROUP BY b.tenant_id, b.store_id, b.beacon_id, k.store_id, k.node, s.radio, minute

-- name: registered
-- The registry.
SELECT beacon_id, uuid, major, minor, store_id, role = 'fixed', floor, x_m, y_m FROM beacon WHERE retired_at IS NULL

-- name: keep_fixed_levels
-- What each node heard of the fixed beacons of its store, by the day; a day that grew is counted anew.
INSERT INTO fixed_level (tenant_id, store_id, beacon_id, node, day, mean_dbm, n)
SELECT b.tenant_id, b.store_id, b.beacon_id, k.node, (s.time AT TIME ZONE 'UTC')::date AS day,
       sum(s.rssi::bigint * s.count) / sum(s.count) / 10.0, sum(s.count)
FROM sighting s
     JOIN beacon b ON b.subject = s.subject AND b.retired_at IS NULL AND b.role = 'fixed' AND b.x_m IS NOT NULL
     JOIN node k ON k.node_key = s.node_key AND (k.tenant_id, k.store_id) = (b.tenant_id, b.store_id)
WHERE s.kind = 2 AND s.time >= %(day)s AND s.time < %(day)s + interval '2 days'
GROUP BY b.tenant_id, b.store_id, b.beacon_id, k.node, day
ON CONFLICT (tenant_id, store_id, beacon_id, node, day) DO UPDATE
SET mean_dbm = excluded.mean_dbm, n = excluded.n

-- name: forget_fixed_levels
-- Levels of long ago.
DELETE FROM fixed_level WHERE day < %(day)s

-- name: mapped_floors
-- Floors with a radio map, and when they were surveyed last.
SELECT f.tenant_id, f.store_id, f.floor, f.radio_map, s.taken_at FROM floor f CROSS JOIN LATERAL (
    SELECT taken_at FROM survey s WHERE (s.tenant_id, s.store_id, s.floor) = (f.tenant_id, f.store_id, f.floor)
    ORDER BY survey_id DESC LIMIT 1) s
WHERE f.radio_map IS NOT NULL

-- name: fixed_beacons
-- The fixed beacons that hang on a floor; not those that a copy speaks over.
SELECT beacon_id, x_m, y_m FROM beacon b
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND role = 'fixed' AND retired_at IS NULL
  AND x_m IS NOT NULL AND NOT EXISTS (
    SELECT FROM finding f WHERE (f.tenant_id, f.store_id) = (b.tenant_id, b.store_id) AND f.closed_at IS NULL
      AND f.about = b.uuid || '/' || b.major || '/' || b.minor)

-- name: floor_nodes
-- The rows of a floor's radio map.
SELECT node FROM node
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND floor = %(floor)s AND retired_at IS NULL ORDER BY node

-- name: fixed_levels
-- What was heard of a store's fixed beacons, by the day.
SELECT beacon_id, node, day, mean_dbm, n FROM fixed_level
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND day >= %(day)s
