-- name: nodes
-- A store's nodes with what they last said.
SELECT n.node, n.state, us(greatest(n.state_at, n.health_at)), n.zone, n.health,
       (SELECT count(*) FROM batch b WHERE b.tenant_id = n.tenant_id AND b.node = n.node),
       (SELECT count(*) FROM dead_letter d WHERE d.tenant_id = n.tenant_id AND d.node = n.node),
       n.config_desired, n.config_running, n.config_state, n.config_problems,
       n.config_drift_since IS NOT NULL, us(n.config_drift_since),
       (SELECT us(max(c.expires_at)) FROM certificate c
        WHERE c.tenant_id = n.tenant_id AND c.node = n.node AND c.revoked_at IS NULL)
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
       (SELECT coalesce(sum(positions_told), 0)::bigint FROM store WHERE tenant_id = %(tenant)s),
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
     + (SELECT count(*) FROM trigger_due d JOIN store s USING (tenant_id, store_id) JOIN presence p USING (presence_id)
        WHERE d.tenant_id = %(tenant)s AND d.due_at <= s.located_until AND (p.trusted OR p.left_at IS NOT NULL))

-- name: node_there
-- Whether a node stands in a store.
SELECT 1 FROM node WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND node = %(node)s AND retired_at IS NULL

-- name: end_claims
-- The codes of a node that were not used are good for nothing any more.
UPDATE claim SET expires_at = now()
WHERE tenant_id = %(tenant)s AND node = %(node)s AND used_at IS NULL AND expires_at > now()

-- name: open_claim
-- A one-time code for a node.
INSERT INTO claim (code_sha256, tenant_id, store_id, node, made_by, expires_at)
VALUES (%(code)s, %(tenant)s, %(store)s, %(node)s, %(by)s, now() + %(life)s)
RETURNING us(expires_at)

-- name: use_claim
-- The node that a code is for; the code is used up. Before the tenant is known.
SELECT tenant_id, store_id, node FROM use_claim(%(code)s)

-- name: revoke_node
-- No certificate of a node is good any more.
UPDATE certificate SET revoked_at = now(), revoked_by = %(by)s
WHERE tenant_id = %(tenant)s AND node = %(node)s AND revoked_at IS NULL AND expires_at > now()

-- name: put_certificate
-- A certificate that was issued.
INSERT INTO certificate (serial, tenant_id, node, pem, expires_at)
VALUES (%(serial)s, %(tenant)s, %(node)s, %(pem)s, %(until)s)

-- name: certificate_good
-- Whether a certificate was issued here to this node and is not revoked.
SELECT 1 FROM certificate JOIN node USING (tenant_id, node)
WHERE serial = %(serial)s AND tenant_id = %(tenant)s AND store_id = %(store)s AND node = %(node)s
  AND revoked_at IS NULL AND retired_at IS NULL

-- name: revoked
-- The serial numbers that the broker must refuse, of all tenants.
SELECT serial, revoked_at FROM revoked_certificates()

-- name: store_tz
-- The time zone of a store.
SELECT tz FROM store WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: put_config
-- What a node is to run; the version counts up if that is new, or was refused and is to be tried again. It drifts
-- until it says that it runs it.
UPDATE node SET
    config_desired = config_desired + 1, config_settings = %(settings)s, config_desired_by = %(by)s,
    config_desired_at = at_us(%(now)s), config_drift_since = coalesce(config_drift_since, at_us(%(now)s))
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND node = %(node)s AND retired_at IS NULL
  AND (config_settings <> %(settings)s OR config_state = 'refused')

-- name: config
-- What a node is to run and what it says.
SELECT config_desired, config_settings, us(config_desired_at), config_desired_by, config_running, config_answered,
       config_state, config_problems, us(config_answered_at), config_drift_since IS NOT NULL, us(config_drift_since)
FROM node WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND node = %(node)s AND retired_at IS NULL

-- name: salt
-- A store's salt for its opt-outs, made with the first.
UPDATE store SET opt_out_salt = coalesce(opt_out_salt, %(salt)s)
WHERE tenant_id = %(tenant)s AND store_id = %(store)s
RETURNING opt_out_salt, (SELECT count(*) FROM opt_out o WHERE o.tenant_id = %(tenant)s AND o.store_id = %(store)s)

-- name: opt_out
-- One more device that a store must not hear.
INSERT INTO opt_out (tenant_id, store_id, prefix) VALUES (%(tenant)s, %(store)s, %(prefix)s) ON CONFLICT DO NOTHING

-- name: opt_outs_changed
-- The list counts up; nodes that know an older one are sent it.
UPDATE store SET opt_out_version = opt_out_version + 1 WHERE tenant_id = %(tenant)s AND store_id = %(store)s

-- name: roster
-- The nodes of a store, and whether each is online. For the service.
SELECT node, state = 'online' FROM node
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND retired_at IS NULL

-- name: answered
-- What a node made of the configuration that it is to run. For the service.
UPDATE node SET
    config_running = %(running)s, config_answered = %(version)s, config_state = %(state)s,
    config_problems = %(problems)s, config_answered_at = at_us(%(now)s), opt_outs_known = %(opt_outs)s,
    config_drift_since = CASE WHEN %(running)s::int = config_desired THEN NULL
                              ELSE coalesce(config_drift_since, at_us(%(now)s)) END
WHERE tenant_id = %(tenant)s AND store_id = %(store)s AND node = %(node)s AND retired_at IS NULL

-- name: due
-- Of these nodes, those that have not answered to what they are to run, or know an older list of opt-outs. For the
-- service.
SELECT n.tenant_id, n.store_id, n.node, n.config_desired, n.config_settings, s.opt_out_salt, s.opt_out_version,
       (SELECT string_agg(o.prefix, '' ORDER BY o.prefix) FROM opt_out o
        WHERE o.tenant_id = n.tenant_id AND o.store_id = n.store_id)
FROM unnest(%(tenants)s::text[], %(stores)s::text[], %(nodes)s::text[]) AS a (tenant_id, store_id, node)
JOIN node n USING (tenant_id, store_id, node) JOIN store s USING (tenant_id, store_id)
WHERE n.retired_at IS NULL
  AND (n.config_desired <> coalesce(n.config_answered, 0) OR s.opt_out_version <> n.opt_outs_known)
