-- name: record_batches
-- Enter batches into the ledger; returns the names that were new. The others were stored before.
INSERT INTO batch (tenant_id, node, epoch, seq, kind, digest, events, t0)
SELECT t.tenant_id, t.node, t.epoch, t.seq, t.kind, t.digest, t.events, at_us(t.t0)
FROM unnest(%(tenant)s::text[], %(node)s::text[], %(epoch)s::uuid[], %(seq)s::bigint[], %(kind)s::text[],
            %(digest)s::bytea[], %(events)s::int[], %(t0)s::bigint[])
     AS t (tenant_id, node, epoch, seq, kind, digest, events, t0)
ON CONFLICT DO NOTHING
RETURNING tenant_id, node, epoch, seq

-- name: digest_of
-- The digest under which a batch was stored.
SELECT digest FROM batch WHERE tenant_id = %(tenant)s AND node = %(node)s AND epoch = %(epoch)s AND seq = %(seq)s

-- name: nodes
-- The nodes that may speak, with their four-byte keys.
SELECT n.tenant_id, n.store_id, n.node, n.node_key FROM node n WHERE n.retired_at IS NULL

-- name: enqueue
-- Hand batches to the locator, in the order of the arrays, and wake it at once instead of at its next look.
WITH queued AS (
    INSERT INTO locate_queue (tenant_id, store_id, node, payload)
    SELECT * FROM unnest(%(tenant)s::text[], %(store)s::text[], %(node)s::text[], %(payload)s::bytea[])
)
SELECT pg_notify('aisle_queue', %(stores)s)

-- name: ensure_day
-- Make the day's partition of sightings.
SELECT ensure_day('sighting', %(day)s::date)

-- name: copy_sightings
-- Windows, packed by cloud.ingest.columns.
COPY sighting (time, subject, node_key, radio, rssi, count, peak, kind) FROM STDIN (FORMAT binary)

-- name: store_crowd
-- Counts without identity. A span told twice under two batches is the same span.
INSERT INTO crowd (tenant_id, store_id, node, time, span_s, radios, strong, source, devices, devices_strong, frames)
VALUES (%(tenant)s, %(store)s, %(node)s, at_us(%(time)s), %(span_s)s, %(radios)s, %(strong)s, %(source)s,
        %(devices)s, %(devices_strong)s, %(frames)s)
ON CONFLICT DO NOTHING

-- name: bury
-- A payload that cannot be stored, with the reason. The same payload for the same reason is one letter.
INSERT INTO dead_letter (tenant_id, node, topic, reason, detail, payload, digest)
VALUES (%(tenant)s, %(node)s, %(topic)s, %(reason)s, %(detail)s, %(payload)s, %(digest)s)
ON CONFLICT (topic, digest, reason) DO UPDATE SET times = dead_letter.times + 1, at = now()

-- name: beat
-- A node's heartbeat.
UPDATE node SET health = %(health)s, health_at = at_us(%(now)s), state = 'online'
WHERE tenant_id = %(tenant)s AND node = %(node)s AND store_id = %(store)s

-- name: mark_state
-- A node came or went, as its retained status says.
UPDATE node SET state = %(state)s, state_at = at_us(%(now)s)
WHERE tenant_id = %(tenant)s AND node = %(node)s AND store_id = %(store)s AND state IS DISTINCT FROM %(state)s

-- name: letters
-- Dead letters that were not taken on a retry, the newest first.
SELECT dead_letter_id, us(at), tenant_id, node, topic, reason, detail, length(payload), times FROM dead_letter
WHERE retried_at IS NULL AND (%(reason)s::text IS NULL OR reason = %(reason)s)
ORDER BY at DESC, dead_letter_id DESC LIMIT %(limit)s

-- name: letters_to_retry
-- Dead letters that may be storable now (an unknown node was claimed, a newer build reads a newer version), oldest first.
SELECT dead_letter_id, topic, payload FROM dead_letter
WHERE retried_at IS NULL AND topic LIKE 'aisle/v1/up/%%' AND dead_letter_id > %(after)s
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
ORDER BY dead_letter_id LIMIT 100 FOR UPDATE SKIP LOCKED

-- name: letter_retried
-- A dead letter was offered to the store again and taken.
UPDATE dead_letter SET retried_at = now() WHERE dead_letter_id = ANY(%(ids)s)

-- name: ledger
-- What the ledger knows, and what the locator has yet to read.
SELECT count(*), coalesce(sum(events), 0)::bigint, us(max(stored_at)), (SELECT count(*) FROM locate_queue) FROM batch

-- name: letters_by_reason
-- Open dead letters.
SELECT reason, count(*) FROM dead_letter WHERE retried_at IS NULL GROUP BY reason ORDER BY reason

-- name: nodes_hold
-- What each node said that it still holds.
SELECT tenant_id, store_id, node, state, us(health_at), coalesce((health ->> 'outbox_rows')::bigint, 0),
       coalesce((health ->> 'outbox_oldest_s')::float8, 0), coalesce((health ->> 'dropped')::bigint, 0)
FROM node WHERE retired_at IS NULL ORDER BY tenant_id, store_id, node
