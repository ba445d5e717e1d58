-- The one way from the api to positions: the tracks of enrolled asset beacons, of the caller's tenant.

CREATE FUNCTION asset_track(store text, since timestamptz, until timestamptz)
RETURNS TABLE (label text, at bigint, x_m real, y_m real, spread_m real)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT b.label, us(p.time), p.x_m, p.y_m, p.spread_m
    FROM visit v JOIN beacon b USING (beacon_id) JOIN position p USING (visit_id)
    WHERE v.tenant_id = current_tenant() AND v.store_id = store AND b.role = 'asset'
      AND p.time BETWEEN since AND until AND v.started_at <= until AND coalesce(v.ended_at, until) >= since
    ORDER BY b.label, p.time
$$;
CREATE POLICY asset_track ON visit FOR SELECT TO aisle_owner USING (tenant_id = current_tenant());
CREATE POLICY asset_track ON beacon FOR SELECT TO aisle_owner USING (tenant_id = current_tenant());
REVOKE EXECUTE ON FUNCTION asset_track FROM PUBLIC;
GRANT EXECUTE ON FUNCTION asset_track TO aisle_app;
