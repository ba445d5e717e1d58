-- name: known_stores
-- Which of these stores the tenant has, and in which money each of them sells: that of its earliest receipt.
SELECT s.store_id, (SELECT r.currency FROM receipt r WHERE (r.tenant_id, r.store_id) = (s.tenant_id, s.store_id)
                    ORDER BY r.at LIMIT 1)
FROM store s WHERE s.tenant_id = %(tenant)s AND s.store_id = ANY(%(stores)s)

-- name: share_originals
-- While receipts are stored nobody may decide that an original is missing; see park_originals.
SELECT pg_advisory_xact_lock_shared(hashtext('receipt originals'), hashtext(%(tenant)s))

-- name: park_originals
-- While a receipt is parked nobody may store the sale it waits for: one of the two sees the other.
SELECT pg_advisory_xact_lock(hashtext('receipt originals'), hashtext(%(tenant)s))

-- name: put_receipts
-- Receipts, as columns of text; one that is there already is left as it is. Each column is one text with U+001F between
-- its values and U+001E for none: a tenth of the time that arrays of parameters take. In the order of their names, so
-- that two who store the same ones wait for each other instead of dying. What was paid a day before the store's first
-- visit has no visit to be found.
WITH came AS (
    SELECT * FROM unnest(
        string_to_array(%(receipt_uid)s, E'\x1f'), string_to_array(%(store)s, E'\x1f'),
        string_to_array(%(till)s, E'\x1f'), %(at_us)s::bigint[], string_to_array(%(kind)s, E'\x1f'),
        string_to_array(%(currency)s, E'\x1f'), %(total)s::bigint[], %(discount)s::bigint[],
        string_to_array(%(cashier)s, E'\x1f', E'\x1e'), string_to_array(%(business_date)s, E'\x1f', E'\x1e'),
        string_to_array(%(original_store)s, E'\x1f', E'\x1e'), string_to_array(%(original_uid)s, E'\x1f', E'\x1e'),
        string_to_array(%(ref_kind)s, E'\x1f', E'\x1e'), string_to_array(%(ref_value)s, E'\x1f', E'\x1e'),
        string_to_array(%(discounts)s, E'\x1f'), string_to_array(%(tenders)s, E'\x1f'),
        string_to_array(%(coupon_codes)s, E'\x1f'), string_to_array(%(source)s, E'\x1f'),
        string_to_array(%(digest)s, E'\x1f'))
    AS t (receipt_uid, store_id, till, at_us, kind, currency, total, discount, cashier, business_date, original_store,
          original_uid, ref_kind, ref_value, discounts, tenders, coupon_codes, source, digest)
)
INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total, discount, cashier, business_date,
                     original_store, original_uid, original_receipt_id, ref_kind, ref_value, member_id, discounts,
                     tenders, coupon_codes, source, digest, join_state)
SELECT s.tenant_id, s.store_id, c.receipt_uid, coalesce(c.till, ''), at_us(c.at_us), c.kind, c.currency, c.total,
       c.discount, c.cashier, coalesce(c.business_date::date, (at_us(c.at_us) AT TIME ZONE s.tz)::date),
       c.original_store, c.original_uid, o.receipt_id, c.ref_kind, c.ref_value, m.member_id, c.discounts::jsonb,
       c.tenders::jsonb, ARRAY(SELECT jsonb_array_elements_text(c.coupon_codes::jsonb)), coalesce(c.source, ''),
       decode(c.digest, 'hex'), CASE WHEN at_us(c.at_us) < f.at - interval '1 day' THEN 'unmatched' ELSE 'open' END
FROM came c
JOIN store s ON s.tenant_id = %(tenant)s AND s.store_id = c.store_id
LEFT JOIN (SELECT v.store_id, min(v.started_at) AS at FROM visit v
           WHERE v.tenant_id = %(tenant)s AND v.store_id = ANY(string_to_array(%(store)s, E'\x1f')) GROUP BY v.store_id
          ) f ON f.store_id = c.store_id
LEFT JOIN member m ON m.tenant_id = %(tenant)s AND c.ref_kind = 'card' AND m.card = c.ref_value
LEFT JOIN receipt o ON (o.tenant_id, o.store_id, o.receipt_uid) = (%(tenant)s, c.original_store, c.original_uid)
ORDER BY c.store_id, c.receipt_uid
ON CONFLICT DO NOTHING
RETURNING store_id, receipt_uid, receipt_id

-- name: put_lines
-- Their lines, as columns.
INSERT INTO receipt_line (tenant_id, receipt_id, line_no, sku, name, category, qty, unit_price, discount, amount)
SELECT %(tenant)s, receipt_id, line_no, coalesce(sku, ''), coalesce(name, ''), coalesce(category, ''), qty, unit_price,
       discount, amount
FROM unnest(
    %(receipt_id)s::bigint[], %(line_no)s::integer[], string_to_array(%(sku)s, E'\x1f'),
    string_to_array(%(name)s, E'\x1f'), string_to_array(%(category)s, E'\x1f'), %(qty)s::bigint[],
    %(unit_price)s::bigint[], %(discount)s::bigint[], %(amount)s::bigint[])
AS t (receipt_id, line_no, sku, name, category, qty, unit_price, discount, amount)

-- name: digests
-- What is stored under these names; no digest where it was stored before digests were kept.
SELECT r.store_id, r.receipt_uid, r.digest
FROM unnest(%(stores)s::text[], %(uids)s::text[]) AS t (store_id, receipt_uid)
JOIN receipt r ON (r.tenant_id, r.store_id, r.receipt_uid) = (%(tenant)s, t.store_id, t.receipt_uid)

-- name: original_lines
-- What a void that names no lines takes back.
SELECT r.store_id, r.receipt_uid, r.total, r.currency, r.discounts, l.line_no, l.sku, l.name, l.category, l.qty,
       l.unit_price, l.discount, l.amount
FROM unnest(%(stores)s::text[], %(uids)s::text[]) AS t (store_id, receipt_uid)
JOIN receipt r ON (r.tenant_id, r.store_id, r.receipt_uid) = (%(tenant)s, t.store_id, t.receipt_uid)
JOIN receipt_line l USING (receipt_id)
ORDER BY r.receipt_id, l.line_no

-- name: put_quarantined
-- A receipt that is not taken; the same payload stands once.
INSERT INTO receipt_quarantine (tenant_id, store_id, receipt_uid, source, line, state, reason, field, detail, payload,
                                digest, original_store, original_uid)
VALUES (%(tenant)s, %(store)s, %(receipt_uid)s, %(source)s, %(line)s, %(state)s, %(reason)s, %(field)s, %(detail)s,
        %(payload)s::jsonb, %(digest)s, %(original_store)s, %(original_uid)s)
ON CONFLICT (tenant_id, digest) DO NOTHING

-- name: parked_for
-- Parked receipts whose original has come.
SELECT q.quarantine_id, q.source, q.line, q.payload
FROM unnest(%(stores)s::text[], %(uids)s::text[]) AS t (store_id, receipt_uid)
JOIN receipt_quarantine q ON (q.tenant_id, q.original_store, q.original_uid) = (%(tenant)s, t.store_id, t.receipt_uid)
WHERE q.state = 'parked'
ORDER BY q.quarantine_id FOR UPDATE OF q

-- name: settle
-- What became of a quarantined receipt.
UPDATE receipt_quarantine SET state = %(state)s, reason = %(reason)s, field = %(field)s, detail = %(detail)s,
    settled_at = CASE WHEN %(state)s IN ('stored', 'discarded') THEN now() END
WHERE tenant_id = %(tenant)s AND quarantine_id = %(quarantine_id)s

-- name: quarantined
-- What was not taken, by state and store, the newest first.
SELECT quarantine_id, store_id, receipt_uid, source, line, state, reason, field, detail, us(at), payload
FROM receipt_quarantine
WHERE tenant_id = %(tenant)s AND state = ANY(%(states)s) AND (%(store)s::text IS NULL OR store_id = %(store)s)
  AND (%(before)s::bigint IS NULL OR quarantine_id < %(before)s)
ORDER BY quarantine_id DESC LIMIT %(limit)s

-- name: is_waiting
-- Whether this row of the quarantine still waits for somebody.
SELECT 1 FROM receipt_quarantine
WHERE tenant_id = %(tenant)s AND quarantine_id = %(quarantine_id)s AND state IN ('parked', 'refused')

-- name: to_retry
-- Quarantined receipts to offer once more, the oldest first; nobody else offers them meanwhile.
SELECT quarantine_id, source, line, payload
FROM receipt_quarantine
WHERE tenant_id = %(tenant)s AND state IN ('parked', 'refused') AND quarantine_id > %(after)s
  AND (%(ids)s::bigint[] IS NULL OR quarantine_id = ANY(%(ids)s))
ORDER BY quarantine_id LIMIT 500 FOR UPDATE

-- name: begin_import
-- How far this file is already in.
INSERT INTO receipt_import AS i (tenant_id, digest, source) VALUES (%(tenant)s, %(digest)s, %(source)s)
ON CONFLICT (tenant_id, digest) DO UPDATE SET source = excluded.source
RETURNING done, stored, duplicates, parked, quarantined, finished_at IS NOT NULL

-- name: import_goes_on
-- Another batch of the file is in: in the same transaction.
UPDATE receipt_import SET done = done + %(done)s, stored = stored + %(stored)s, duplicates = duplicates + %(duplicates)s,
    parked = parked + %(parked)s, quarantined = quarantined + %(quarantined)s
WHERE tenant_id = %(tenant)s AND digest = %(digest)s

-- name: import_is_done
-- The file was read to its end.
UPDATE receipt_import SET finished_at = now() WHERE tenant_id = %(tenant)s AND digest = %(digest)s

-- name: tenants
-- Whom there is to import for, and in which zone a store stands.
SELECT t.tenant_id, s.store_id, s.tz FROM tenant t LEFT JOIN store s USING (tenant_id) ORDER BY 1, 2

-- name: identified
-- Sales whose customer is known among all sales, by one of store, till, cashier and day. What was undone is no sale.
SELECT CASE %(by)s WHEN 'store' THEN r.store_id WHEN 'till' THEN r.till WHEN 'cashier' THEN coalesce(r.cashier, '')
       ELSE r.business_date::text END AS what,
       count(*) AS receipts, count(r.member_id) AS identified
FROM receipt r
WHERE r.tenant_id = %(tenant)s AND r.kind = 'sale' AND r.business_date BETWEEN %(first)s AND %(last)s
  AND (%(store)s::text IS NULL OR r.store_id = %(store)s)
  AND NOT EXISTS (SELECT FROM receipt v WHERE v.original_receipt_id = r.receipt_id AND v.kind = 'void')
GROUP BY 1 ORDER BY 1

-- name: identified_fall
-- Each store's share of identified sales on a day, beside the mean of its daily shares over the 28 days before.
SELECT store_id, sum(receipts) FILTER (WHERE business_date = %(day)s)::bigint AS receipts,
       sum(identified) FILTER (WHERE business_date = %(day)s)::bigint AS identified,
       (avg(identified::float8 / receipts) FILTER (WHERE business_date < %(day)s)) AS mean
FROM (SELECT r.store_id, r.business_date, count(*) AS receipts, count(r.member_id) AS identified
      FROM receipt r
      WHERE r.tenant_id = %(tenant)s AND r.kind = 'sale'
        AND r.business_date BETWEEN %(day)s::date - 28 AND %(day)s::date
        AND NOT EXISTS (SELECT FROM receipt v WHERE v.original_receipt_id = r.receipt_id AND v.kind = 'void')
      GROUP BY 1, 2) days
GROUP BY store_id
HAVING bool_or(business_date = %(day)s) AND bool_or(business_date < %(day)s)
ORDER BY store_id

-- name: use_coupons
-- Coupons presented at the till: used once, before they expire, by whoever holds them.
UPDATE coupon SET used_receipt_id = %(receipt)s
WHERE tenant_id = %(tenant)s AND code = ANY(%(codes)s) AND used_receipt_id IS NULL AND at_us(%(at_us)s) <= expires_at

-- name: tell_receipt
-- Wake the worker that joins receipts with visits.
SELECT pg_notify('aisle_receipt', %(tenant)s)

-- name: receipts
-- The newest receipts of a store, with the visit they belong to.
SELECT r.receipt_uid, r.till, us(r.at), r.kind, r.currency, r.total, r.join_state, v.confidence, v.reason
FROM receipt r LEFT JOIN receipt_visit v USING (receipt_id)
WHERE r.tenant_id = %(tenant)s AND r.store_id = %(store)s
ORDER BY r.at DESC LIMIT %(limit)s

-- name: open_receipts
-- Receipts whose visit is still looked for, where the locator has told the story up to their instant.
SELECT r.receipt_id, r.tenant_id, r.store_id, r.at, r.member_id, s.located_until
FROM receipt r JOIN store s USING (tenant_id, store_id)
WHERE r.join_state = 'open' AND s.located_until >= r.at
ORDER BY r.receipt_id LIMIT 500 FOR UPDATE OF r SKIP LOCKED

-- name: visit_by_card
-- The member's own visit at that instant; leaving the till and the last window may differ by some minutes.
SELECT visit_id FROM visit
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND member_id = %(member)s
  AND started_at <= %(at)s AND coalesce(ended_at, seen_at) >= %(at)s::timestamptz - interval '10 minutes'
ORDER BY started_at DESC LIMIT 1

-- name: visits_at_till
-- Visits that stood in a till zone when the receipt was printed and have no receipt of their own, nearest first.
SELECT p.visit_id, count(*) OVER () AS rivals -- counted after the grouping: visits, not presences
FROM presence p JOIN zone z USING (tenant_id, store_id, zone) JOIN visit v USING (visit_id)
WHERE p.tenant_id = %(tenant)s AND p.store_id = %(store)s AND z.kind = 'till' AND NOT v.excluded
  AND p.entered_at <= %(at)s::timestamptz + interval '20 seconds'
  AND coalesce(p.left_at, v.seen_at) >= %(at)s::timestamptz - interval '60 seconds'
  AND NOT EXISTS (SELECT 1 FROM receipt_visit x WHERE x.visit_id = p.visit_id)
GROUP BY p.visit_id
ORDER BY min(abs(extract(epoch FROM coalesce(p.left_at, v.seen_at) - %(at)s::timestamptz))), p.visit_id LIMIT 1

-- name: join_visit
-- This receipt was paid in that visit.
INSERT INTO receipt_visit (receipt_id, tenant_id, visit_id, confidence, reason)
VALUES (%(receipt)s, %(tenant)s, %(visit)s, %(confidence)s, %(reason)s)

-- name: count_conversions
-- Receipts that were just joined: a visit converts in each zone that it had been in when it paid and whose planogram holds
-- something that was bought. Once, though it may have receipts from before. In the order of the rows (cloud.locate's
-- count_visits says why).
INSERT INTO zone_5min AS r (tenant_id, store_id, zone, time, converted)
SELECT tenant_id, store_id, zone, time, count(*)
FROM (SELECT v.tenant_id, v.store_id, p.zone, date_bin('5 minutes', min(p.entered_at), 'epoch') AS time
      FROM receipt_visit x JOIN receipt b USING (receipt_id) JOIN visit v USING (visit_id)
           JOIN presence p ON p.visit_id = v.visit_id AND p.entered_at <= b.at
           JOIN zone z ON (z.tenant_id, z.store_id, z.zone) = (p.tenant_id, p.store_id, p.zone)
      WHERE x.receipt_id = ANY(%(receipts)s) AND NOT v.excluded
        AND EXISTS (SELECT FROM receipt_line l WHERE l.receipt_id = x.receipt_id AND l.category = ANY(z.categories))
        AND NOT EXISTS (SELECT FROM receipt_visit y JOIN receipt_line l USING (receipt_id)
                        WHERE y.visit_id = x.visit_id AND y.receipt_id <> ALL(%(receipts)s)
                          AND l.category = ANY(z.categories))
      GROUP BY v.tenant_id, v.store_id, v.visit_id, p.zone) bought
GROUP BY tenant_id, store_id, zone, time ORDER BY tenant_id, store_id, zone, time
ON CONFLICT (tenant_id, store_id, zone, time) DO UPDATE SET converted = r.converted + excluded.converted

-- name: set_join_state
-- The search for the visit is over.
UPDATE receipt SET join_state = %(state)s WHERE receipt_id = %(receipt)s
