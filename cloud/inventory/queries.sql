-- name: store_events
-- What nodes told of tags.
INSERT INTO tag_event (tenant_id, store_id, time, since, node, epc, state, zone, origin, rssi, reads)
SELECT t.tenant_id, t.store_id, at_us(t.time), at_us(t.since), t.node, t.epc, t.state, t.zone, t.origin, t.rssi, t.reads
FROM unnest(%(tenant)s::text[], %(store)s::text[], %(time)s::bigint[], %(since)s::bigint[], %(node)s::text[],
            %(epc)s::bytea[], %(state)s::text[], %(zone)s::text[], %(origin)s::text[], %(rssi)s::real[],
            %(reads)s::int[])
     AS t (tenant_id, store_id, time, since, node, epc, state, zone, origin, rssi, reads)
ON CONFLICT DO NOTHING

-- name: place_tags
-- Where each tag is by the last that its node told; what comes late changes nothing.
INSERT INTO tag_place AS p (tenant_id, store_id, epc, node, zone, gtin, since, told_at)
SELECT t.tenant_id, t.store_id, t.epc, t.node, t.zone, t.gtin, at_us(t.since), at_us(t.told)
FROM unnest(%(tenant)s::text[], %(store)s::text[], %(epc)s::bytea[], %(node)s::text[], %(zone)s::text[],
            %(gtin)s::text[], %(since)s::bigint[], %(told)s::bigint[])
     AS t (tenant_id, store_id, epc, node, zone, gtin, since, told)
ON CONFLICT (tenant_id, store_id, epc, node) DO UPDATE
SET zone = excluded.zone, since = excluded.since, told_at = excluded.told_at
WHERE p.told_at <= excluded.told_at

-- name: stock
-- Tags in each zone by article: of each tag the newest story of a node that still has it.
SELECT t.zone, t.gtin, count(*), us(max(t.since))
FROM (SELECT DISTINCT ON (p.epc) p.epc, p.zone, p.gtin, p.since
      FROM tag_place p JOIN node n ON (n.tenant_id, n.node) = (p.tenant_id, p.node) AND n.retired_at IS NULL
      WHERE p.tenant_id = %(tenant)s AND p.store_id = %(store)s AND p.zone IS NOT NULL
        AND (%(gtin)s::text IS NULL OR p.gtin = %(gtin)s)
      ORDER BY p.epc, p.since DESC, p.node) t
WHERE %(zone)s::text IS NULL OR t.zone = %(zone)s
GROUP BY t.zone, t.gtin ORDER BY t.zone, t.gtin NULLS LAST

-- name: events
-- What tags did in a span of time, oldest first, with the kind of each zone.
SELECT us(e.time), us(e.since), e.node, e.epc, e.state, e.zone, e.origin, e.rssi, e.reads, z.kind
FROM tag_event e LEFT JOIN zone z USING (tenant_id, store_id, zone)
WHERE e.tenant_id = %(tenant)s AND e.store_id = %(store)s
  AND e.time >= at_us(%(from_us)s) AND e.time < at_us(%(to_us)s)
ORDER BY e.time, e.epc, e.node, e.state LIMIT %(limit)s

-- name: store
-- What an EPCIS document needs to know of a store.
SELECT tz, sgln FROM store WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: set_sgln
-- Give a store its place in GS1's world.
UPDATE store SET sgln = %(sgln)s WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: forget_events
-- What changed so long ago is told no more.
DELETE FROM tag_event WHERE time < at_us(%(before)s)

-- name: forget_gone
-- Tags that are gone for so long that nothing late can come of them.
DELETE FROM tag_place WHERE zone IS NULL AND told_at < at_us(%(before)s)
