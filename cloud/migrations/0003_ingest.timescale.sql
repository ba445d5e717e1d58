-- With TimescaleDB: the same names and columns as hypertables of one-day chunks with the same BRIN index.

ALTER TABLE sighting RENAME TO sighting_plain;
CREATE TABLE sighting (LIKE sighting_plain);
DROP TABLE sighting_plain;
SELECT create_hypertable('sighting', by_range('time', interval '1 day'), create_default_indexes => false);
CREATE INDEX ON sighting USING brin (time);
GRANT SELECT, INSERT ON sighting TO aisle_service;

CREATE FUNCTION ensure_day(tbl text, day date) RETURNS void LANGUAGE sql RETURN NULL::void; -- chunks make themselves

CREATE FUNCTION drop_days(tbl text, before date) RETURNS integer LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    SELECT count(*)::integer FROM drop_chunks(tbl::regclass, older_than => before::timestamp AT TIME ZONE 'UTC')
$$;

REVOKE EXECUTE ON FUNCTION ensure_day, drop_days FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_day, drop_days TO aisle_service;
