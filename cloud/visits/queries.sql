-- name: visits
-- The newest visits of members, with their zones and the receipt that belongs to them (the surest of several).
SELECT v.visit_id, us(v.started_at), us(v.ended_at), m.card,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('zone', z.zone, 'dwell_s', z.dwell_s) ORDER BY z.first), '[]')
        FROM (SELECT p.zone, min(p.entered_at) AS first,
                     round(sum(extract(epoch FROM coalesce(p.left_at, v.seen_at) - p.entered_at)))::int AS dwell_s
              FROM presence p WHERE p.visit_id = v.visit_id GROUP BY p.zone) z),
       r.receipt_uid, r.total, r.currency, x.confidence, x.reason
FROM visit v JOIN member m USING (tenant_id, member_id)
LEFT JOIN LATERAL (SELECT * FROM receipt_visit b WHERE b.visit_id = v.visit_id
                   ORDER BY b.confidence DESC, b.receipt_id LIMIT 1) x ON true
LEFT JOIN receipt r USING (receipt_id)
WHERE v.tenant_id = %(tenant)s AND v.store_id = %(store)s AND NOT v.excluded
ORDER BY v.started_at DESC, v.visit_id DESC LIMIT %(limit)s

-- name: visit_rule
-- What a visit is in this store, where it has a rule of its own.
SELECT ends_after_s, at_midnight, shortest_s, longest_s, engaged_s FROM visit_rule
WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: put_visit_rule
-- What a visit is in this store from now on.
INSERT INTO visit_rule (tenant_id, store_id, ends_after_s, at_midnight, shortest_s, longest_s, engaged_s)
VALUES (%(tenant)s, %(store)s, %(ends_after_s)s, %(at_midnight)s, %(shortest_s)s, %(longest_s)s, %(engaged_s)s)
ON CONFLICT (tenant_id, store_id) DO UPDATE SET ends_after_s = excluded.ends_after_s,
    at_midnight = excluded.at_midnight, shortest_s = excluded.shortest_s, longest_s = excluded.longest_s,
    engaged_s = excluded.engaged_s
