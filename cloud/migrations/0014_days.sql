-- Raw rows by the day, the same with and without TimescaleDB: `days` tells which there are, `ensure_day` makes one,
-- `drop_days` forgets them whole. (The twins hold these three.)

-- What was applied may be told by whoever checks the database.
GRANT SELECT ON schema_migration TO aisle_service;

-- Days that were swept of pseudonyms to their end, and how many windows had ever been inserted into each by then.
CREATE TABLE swept_day (
    day      date PRIMARY KEY,
    inserted bigint NOT NULL
);

-- A stranger's pseudonym may be kept for a day, whatever else is kept of the same second. A day that has grown since it
-- was swept (a node that was offline) is swept again; the others are not read at all. The server's count of inserts is
-- read before the rows: whoever is counted has committed. It begins anew after a crash, which costs one more sweep.
CREATE OR REPLACE FUNCTION forget_pseudonyms(before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint := 0;
    deleted bigint;
    old record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('forget_pseudonyms'), 0) THEN RETURN 0; END IF; -- another worker is at it
    DELETE FROM swept_day s WHERE NOT EXISTS (SELECT FROM days('sighting') d WHERE d.day = s.day);
    FOR old IN
        SELECT d.day, d.day::timestamp AT TIME ZONE 'UTC' AS begins, (d.day + 1)::timestamp AT TIME ZONE 'UTC' AS ends,
               pg_stat_get_tuples_inserted(d.part) AS inserted
        FROM days('sighting') d WHERE d.day::timestamp AT TIME ZONE 'UTC' < before ORDER BY d.day
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM swept_day s WHERE (s.day, s.inserted) = (old.day, old.inserted));
        DELETE FROM sighting WHERE kind = 3 AND time >= old.begins AND time < least(old.ends, before);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        gone := gone + deleted;
        IF old.ends <= before THEN
            INSERT INTO swept_day VALUES (old.day, old.inserted)
            ON CONFLICT (day) DO UPDATE SET inserted = excluded.inserted;
        END IF;
    END LOOP;
    RETURN gone;
END $$;
