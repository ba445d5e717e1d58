-- name: known_stores
-- Which of these stores the tenant has.
SELECT store_id FROM store WHERE tenant_id = %(tenant)s AND store_id = ANY(%(stores)s)

-- name: put_receipt
-- A receipt; one that is there already is left as it is.
INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total, member_id, coupon_codes)
VALUES (%(tenant)s, %(store)s, %(receipt_uid)s, %(till)s, at_us(%(at_us)s), %(kind)s, %(currency)s, %(total)s,
        (SELECT member_id FROM member WHERE tenant_id = %(tenant)s AND card = %(card)s), %(coupon_codes)s)
ON CONFLICT DO NOTHING
RETURNING receipt_id

-- name: put_line
-- A receipt's line.
INSERT INTO receipt_line (tenant_id, receipt_id, line_no, sku, name, category, qty, unit_price, discount, amount)
VALUES (%(tenant)s, %(receipt)s, %(line_no)s, %(sku)s, %(name)s, %(category)s, %(qty)s, %(unit_price)s, %(discount)s,
        %(amount)s)

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
