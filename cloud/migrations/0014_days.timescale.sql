-- With TimescaleDB: days are chunks, which make themselves; after a week they are turned into columns, and whoever
-- forgets to run the worker has them dropped all the same.

CREATE FUNCTION days(tbl text) RETURNS TABLE (day date, part regclass, bytes bigint)
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    -- A chunk that is dropped at this moment still stands in the list, and has no table any more.
    SELECT (c.range_start AT TIME ZONE 'UTC')::date, chunk.part, s.total_bytes
    FROM timescaledb_information.chunks c
         JOIN chunks_detailed_size(tbl::regclass) s USING (chunk_schema, chunk_name),
         to_regclass(format('%I.%I', c.chunk_schema, c.chunk_name)) AS chunk (part)
    WHERE c.hypertable_schema = 'public' AND c.hypertable_name = tbl AND chunk.part IS NOT NULL ORDER BY 1
$$;

CREATE OR REPLACE FUNCTION ensure_day(tbl text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF tbl NOT IN ('sighting', 'position') THEN RAISE 'no days of %', tbl; END IF;
END $$;

CREATE OR REPLACE FUNCTION drop_days(tbl text, before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    IF tbl NOT IN ('sighting', 'position') THEN RAISE 'no days of %', tbl; END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('drop_days'), hashtext(tbl)) THEN RETURN 0; END IF;
    RETURN (SELECT count(*) FROM drop_chunks(tbl::regclass, older_than => before::timestamp AT TIME ZONE 'UTC'));
END $$;

REVOKE EXECUTE ON FUNCTION days FROM PUBLIC;
GRANT EXECUTE ON FUNCTION days TO aisle_service;

-- By subject, then time: its windows lie together, a second apart, and take a quarter of what they do by time alone. Kinds
-- apart, so that strangers are deleted by whole segments.
ALTER TABLE sighting SET (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'node_key, kind',
                          timescaledb.orderby = 'subject, time');
ALTER TABLE position SET (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'visit_id',
                          timescaledb.orderby = 'time');

-- Not at once: a policy's first run would find a restored or replayed past before anybody has looked at it.
CALL add_columnstore_policy('sighting', after => interval '7 days', initial_start => now() + interval '1 day');
CALL add_columnstore_policy('position', after => interval '7 days', initial_start => now() + interval '1 day');

-- The worker drops days after 30 (cloud/retention.py); this is for when no worker runs.
SELECT add_retention_policy('sighting', drop_after => interval '35 days', initial_start => now() + interval '1 day');
SELECT add_retention_policy('position', drop_after => interval '35 days', initial_start => now() + interval '1 day');
