-- name: stores
-- The tenant's stores.
SELECT store_id, name, tz, demo FROM store WHERE tenant_id = %(tenant)s ORDER BY name

-- name: store
-- One store.
SELECT store_id, name, tz, demo, to_char(opens, 'HH24:MI'), to_char(closes, 'HH24:MI'), us(located_until)
FROM store WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: put_store
-- Make or change a store.
INSERT INTO store (tenant_id, store_id, name, tz, opens, closes, demo)
VALUES (%(tenant)s, %(store)s, %(name)s, %(tz)s, %(opens)s::time, %(closes)s::time, %(demo)s)
ON CONFLICT (tenant_id, store_id) DO UPDATE
SET name = excluded.name, tz = excluded.tz, opens = excluded.opens, closes = excluded.closes, demo = excluded.demo

-- name: floors
-- A store's floors.
SELECT floor, name, width_m, depth_m, cell_m, radio_map IS NOT NULL AS surveyed
FROM floor WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY floor

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

-- name: zones
-- A store's zones.
SELECT zone, name, kind, floor, polygon, categories
FROM zone WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY zone

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

-- name: nodes
-- A store's nodes.
SELECT node, floor, x_m, y_m, z_m, zone FROM node
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NULL ORDER BY node

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

-- name: beacons
-- A store's beacon registry.
SELECT uuid, major, minor, role, label, floor, x_m, y_m FROM beacon
WHERE tenant_id = %(tenant)s AND store_id = %(store)s ORDER BY label, major, minor

-- name: put_beacon
-- Register a beacon.
INSERT INTO beacon (tenant_id, store_id, subject, uuid, major, minor, role, label, floor, x_m, y_m)
VALUES (%(tenant)s, %(store)s, %(subject)s, %(uuid)s, %(major)s, %(minor)s, %(role)s, %(label)s, %(floor)s,
        %(x_m)s, %(y_m)s)
ON CONFLICT (tenant_id, store_id, subject) DO UPDATE
SET role = excluded.role, label = excluded.label, floor = excluded.floor, x_m = excluded.x_m, y_m = excluded.y_m

-- name: plan_changed
-- The locator holds the plan in memory: tell it to read it again.
SELECT pg_notify('aisle_plan', %(tenant)s || '/' || %(store)s)

-- name: heard
-- What each node heard of an enrolled asset beacon.
SELECT node, mean_dbm, sd_db, n FROM asset_heard(%(store)s, %(subject)s, at_us(%(from_us)s), at_us(%(to_us)s))
