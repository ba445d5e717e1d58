-- name: server
-- The server, this database, and which of the two paths it could run.
SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_user::text,
       (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
           OR coalesce(pg_has_role(current_user, to_regrole('aisle_service'), 'USAGE'), false),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       (SELECT current_setting('timescaledb.license', true) FROM pg_extension WHERE extname = 'timescaledb'),
       (SELECT jsonb_object_agg(name, setting) FROM pg_settings
        WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'max_wal_size', 'shared_buffers',
                       'max_connections', 'autovacuum')),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()),
       pg_database_size(current_database())

-- name: applied
-- The migrations that this database has.
SELECT file FROM schema_migration ORDER BY file

-- name: roles
-- The product's roles, and whether each may do more than it should.
SELECT rolname, rolcanlogin, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
FROM pg_roles WHERE rolname IN ('aisle_owner', 'aisle_app', 'aisle_service')

-- name: tables
-- Tables with their size (of a table by day: without its days), rows as last estimated, and how they are protected.
SELECT c.relname, pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint,
       c.relrowsecurity AND c.relforcerowsecurity,
       coalesce(has_table_privilege('aisle_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE'), false)
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname

-- name: days
-- The days of raw rows.
SELECT t.name, d.day, d.bytes, greatest(c.reltuples, 0)::bigint
FROM unnest('{sighting,position}'::text[]) AS t (name) CROSS JOIN LATERAL days(t.name) d JOIN pg_class c ON c.oid = d.part
ORDER BY t.name, d.day

-- name: invalid_indexes
-- Indexes that a statement left behind half made.
SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT i.indisvalid AND c.relkind <> 'p'

-- name: waiting
-- What waits: batches for the locator, triggers, receipts for their visit.
SELECT (SELECT count(*) FROM locate_queue),
       (SELECT count(*) FROM trigger_due d JOIN store s USING (tenant_id, store_id)
        WHERE s.located_until > d.due_at + interval '1 minute'),
       (SELECT count(*) FROM receipt r JOIN store s USING (tenant_id, store_id)
        WHERE r.join_state = 'open' AND s.located_until > r.at + interval '1 hour')

-- name: letters
-- Open dead letters by reason.
SELECT reason, count(*) FROM dead_letter WHERE retried_at IS NULL GROUP BY reason ORDER BY count(*) DESC, reason

-- name: stores
-- Each store with nodes: whether it is simulated, how far its story is told, and how long ago its holder beat.
SELECT s.tenant_id || '/' || s.store_id, s.demo, s.located_until,
       extract(epoch FROM clock_timestamp() - o.beat_at)::float8
FROM store s LEFT JOIN store_lease l USING (tenant_id, store_id) LEFT JOIN locator o USING (locator_id)
WHERE EXISTS (SELECT FROM node n WHERE (n.tenant_id, n.store_id) = (s.tenant_id, s.store_id) AND n.retired_at IS NULL)
ORDER BY 1

-- name: hearing
-- Windows of things that stay, by node: of the newest whole day, and the mean of the seven days before it.
WITH daily AS (
    SELECT n.tenant_id || '/' || n.store_id || '/' || n.node AS node, date_bin('1 day', h.hour, 'epoch') AS day,
           sum(h.windows) AS windows
    FROM node_hour h JOIN node n USING (node_key)
    WHERE n.retired_at IS NULL AND h.hour >= %(today)s::date - interval '8 days' AND h.hour < %(today)s::date
    GROUP BY 1, 2)
SELECT node, coalesce(sum(windows) FILTER (WHERE day >= %(today)s::date - interval '1 day'), 0)::bigint,
       coalesce(avg(windows) FILTER (WHERE day < %(today)s::date - interval '1 day'), 0)::float8
FROM daily GROUP BY node ORDER BY node

-- name: forget_batches
-- Names that no node will say again. An index by blocks finds them: they lie in the order in which they were stored.
DELETE FROM batch WHERE stored_at < now() - %(age)s::interval

-- name: forget_letters
-- Dead letters that nobody mended in time.
DELETE FROM dead_letter WHERE at < now() - %(age)s::interval
