-- The walk test: what each node heard of an enrolled asset beacon. With asset_track the only ways from the api to what
-- nodes heard; nobody else's windows can be asked for.

CREATE FUNCTION asset_heard(store text, asset bigint, since timestamptz, until timestamptz)
RETURNS TABLE (node text, mean_dbm double precision, sd_db double precision, n bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    WITH heard AS (
        SELECT k.node, s.rssi / 10.0::double precision AS dbm, s.count::bigint AS packets
        FROM beacon b
             JOIN sighting s ON s.subject = b.subject AND s.kind = 2 -- contract.identity.SubjectKind.BEACON
             JOIN node k USING (node_key)
        WHERE b.tenant_id = current_tenant() AND b.store_id = store AND b.role = 'asset' AND b.subject = asset
          AND k.tenant_id = b.tenant_id AND k.store_id = b.store_id AND k.retired_at IS NULL
          AND s.time > since AND s.time <= until
    ), mean AS (
        SELECT node, sum(dbm * packets) / sum(packets) AS mean, sum(packets)::bigint AS n, count(*) AS windows
        FROM heard GROUP BY node
    )
    -- Windows hold means. The mean of c packets spreads by sd / sqrt(c), so the windows' squared distances from the
    -- mean, weighted by c, sum up to sd^2 for each window but one.
    SELECT m.node, m.mean,
           coalesce(sqrt(sum(h.packets * (h.dbm - m.mean) ^ 2) / nullif(m.windows - 1, 0)), 0), m.n
    FROM mean m JOIN heard h USING (node) GROUP BY m.node, m.mean, m.windows, m.n ORDER BY m.mean DESC
$$;
CREATE POLICY asset_heard ON node FOR SELECT TO aisle_owner USING (tenant_id = current_tenant());
REVOKE EXECUTE ON FUNCTION asset_heard FROM PUBLIC;
GRANT EXECUTE ON FUNCTION asset_heard TO aisle_app;
