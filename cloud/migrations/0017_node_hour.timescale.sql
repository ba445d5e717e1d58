-- With TimescaleDB: a continuous aggregate of the same name and columns, kept by its policy; what that has not reached yet
-- is read from the windows themselves.

CREATE MATERIALIZED VIEW node_hour WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
    SELECT time_bucket(interval '1 hour', time) AS hour, node_key, count(*) AS windows, sum(count) AS packets
    FROM sighting WHERE kind <> 3 GROUP BY 1, 2
WITH NO DATA;
GRANT SELECT ON node_hour TO aisle_service;

-- A node may come three days late; then raw days may be dropped and the hours stay.
SELECT add_continuous_aggregate_policy('node_hour', start_offset => interval '3 days', end_offset => interval '1 hour',
    schedule_interval => interval '1 hour', initial_start => now() + interval '1 hour');

CREATE FUNCTION count_hours(since date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN 0; -- the policy does it
END $$;

REVOKE EXECUTE ON FUNCTION count_hours FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_hours TO aisle_service;
