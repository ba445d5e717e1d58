-- Without TimescaleDB: a table, made anew by the worker for days that have grown.

CREATE TABLE node_hour (
    hour     timestamptz NOT NULL,
    node_key integer NOT NULL,
    windows  bigint NOT NULL,
    packets  bigint NOT NULL,
    PRIMARY KEY (hour, node_key)
);
GRANT SELECT ON node_hour TO aisle_service;

CREATE TABLE counted_day (
    day      date PRIMARY KEY,
    inserted bigint NOT NULL -- as in swept_day
);

CREATE FUNCTION count_hours(since date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE grown record; counted integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('count_hours'), 0) THEN RETURN 0; END IF; -- another worker is at it
    DELETE FROM counted_day c WHERE c.day < since;
    FOR grown IN
        SELECT d.day, d.day::timestamp AT TIME ZONE 'UTC' AS begins, (d.day + 1)::timestamp AT TIME ZONE 'UTC' AS ends,
               pg_stat_get_tuples_inserted(d.part) AS inserted
        FROM days('sighting') d WHERE d.day >= since ORDER BY d.day
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM counted_day c WHERE (c.day, c.inserted) = (grown.day, grown.inserted));
        INSERT INTO node_hour (hour, node_key, windows, packets)
        SELECT date_bin('1 hour', time, 'epoch'), node_key, count(*), sum(count)
        FROM sighting WHERE kind <> 3 AND time >= grown.begins AND time < grown.ends GROUP BY 1, 2
        ON CONFLICT (hour, node_key) DO UPDATE SET windows = excluded.windows, packets = excluded.packets;
        INSERT INTO counted_day VALUES (grown.day, grown.inserted)
        ON CONFLICT (day) DO UPDATE SET inserted = excluded.inserted;
        counted := counted + 1;
    END LOOP;
    RETURN counted;
END $$;

REVOKE EXECUTE ON FUNCTION count_hours FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_hours TO aisle_service;
