-- name: nodes
-- A store's nodes with what they last said.
SELECT n.node, n.state, us(greatest(n.state_at, n.health_at)), n.zone, n.health,
       (SELECT count(*) FROM batch b WHERE b.tenant_id = n.tenant_id AND b.node = n.node),
       (SELECT count(*) FROM dead_letter d WHERE d.tenant_id = n.tenant_id AND d.node = n.node)
FROM node n WHERE n.tenant_id = %(tenant)s AND n.store_id = %(store)s AND n.retired_at IS NULL ORDER BY n.node

-- name: dead_letters
-- The newest dead letters.
SELECT us(at), node, topic, reason, detail, length(payload), times FROM dead_letter
WHERE tenant_id = %(tenant)s ORDER BY at DESC LIMIT %(limit)s

-- name: progress
-- Counts of all that the tenant's pipeline has done.
SELECT (SELECT coalesce(sum(events), 0) FROM batch WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM batch WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM dead_letter WHERE tenant_id = %(tenant)s),
       (SELECT coalesce(sum(positions), 0) FROM heat WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM visit WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM receipt WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM receipt_visit WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM decision WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM decision WHERE tenant_id = %(tenant)s AND outcome = 'ghost'),
       (SELECT count(*) FROM push WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM push WHERE tenant_id = %(tenant)s AND shown_at IS NOT NULL)

-- name: queue
-- What is still to be done: batches not located, triggers whose time the story has passed.
SELECT (SELECT count(*) FROM locate_queue WHERE tenant_id = %(tenant)s)
     + (SELECT count(*) FROM trigger_due d JOIN store s USING (tenant_id, store_id)
        WHERE d.tenant_id = %(tenant)s AND d.due_at <= s.located_until)
