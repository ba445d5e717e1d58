-- Without TimescaleDB: day partitions made when the first window of a day arrives, BRIN on time, retention by drop.

CREATE INDEX ON sighting USING brin (time);

CREATE FUNCTION ensure_day(tbl text, day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF tbl NOT IN ('sighting', 'position') THEN RAISE 'no day partitions for %', tbl; END IF;
    IF to_regclass(format('%s_%s', tbl, to_char(day, 'YYYYMMDD'))) IS NOT NULL THEN RETURN; END IF;
    PERFORM pg_advisory_xact_lock(hashtext(tbl), day - date '2000-01-01');
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
        format('%s_%s', tbl, to_char(day, 'YYYYMMDD')), tbl,
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
END $$;

CREATE FUNCTION drop_days(tbl text, before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE part text; dropped integer := 0;
BEGIN
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = tbl::regclass AND c.relname < format('%s_%s', tbl, to_char(before, 'YYYYMMDD'))
    LOOP
        EXECUTE format('DROP TABLE %I', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

REVOKE EXECUTE ON FUNCTION ensure_day, drop_days FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_day, drop_days TO aisle_service;
