-- Without TimescaleDB: days are partitions, made ahead by the worker, and by ingest where a node's day was not foreseen.

CREATE FUNCTION days(tbl text) RETURNS TABLE (day date, part regclass, bytes bigint)
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD'), c.oid::regclass, pg_total_relation_size(c.oid)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = tbl::regclass ORDER BY 1
$$;

-- The partition is made beside the table and then attached: CREATE TABLE … PARTITION OF would wait for everybody who
-- reads or writes any day, and they for it.
CREATE OR REPLACE FUNCTION ensure_day(tbl text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE part text := format('%s_%s', tbl, to_char(day, 'YYYYMMDD'));
BEGIN
    IF tbl NOT IN ('sighting', 'position') THEN RAISE 'no days of %', tbl; END IF;
    IF to_regclass(part) IS NOT NULL THEN RETURN; END IF;
    PERFORM pg_advisory_xact_lock(hashtext(tbl), day - date '2000-01-01');
    -- By whoever had the lock before? The catalogue itself is asked: what to_regclass remembers is older than the lock.
    IF EXISTS (SELECT FROM days(tbl) d WHERE d.day = ensure_day.day) THEN RETURN; END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I)', part, tbl);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', tbl, part,
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
END $$;

-- Dropping waits for whoever reads, and everybody after waits for it: so not for long. Whoever comes second leaves it.
CREATE OR REPLACE FUNCTION drop_days(tbl text, before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE old record; dropped integer := 0;
BEGIN
    IF tbl NOT IN ('sighting', 'position') THEN RAISE 'no days of %', tbl; END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('drop_days'), hashtext(tbl)) THEN RETURN 0; END IF;
    FOR old IN SELECT d.part FROM days(tbl) d WHERE d.day < before LOOP
        EXECUTE format('DROP TABLE %s', old.part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

REVOKE EXECUTE ON FUNCTION days FROM PUBLIC;
GRANT EXECUTE ON FUNCTION days TO aisle_service;
