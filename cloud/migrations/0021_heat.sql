-- What is told of a store's days: heat, moves between zones, how far visits went. Only figures that analysts may see are
-- kept here (cloud/analytics/release.py says by what rule), so no question of theirs can reach behind them.

-- A floor's local day on its fixed grid; float32, little-endian, row 0 at y = 0.
CREATE TABLE heat_day (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    floor     text NOT NULL,
    day       date NOT NULL,
    begins_at timestamptz NOT NULL, -- local midnight
    ends_at   timestamptz NOT NULL,
    nx        smallint NOT NULL,
    ny        smallint NOT NULL,
    cell_m    real NOT NULL,
    closed    smallint NOT NULL, -- hours that are over and told
    by_hour   bytea NOT NULL, -- seconds in each tile of the floor, hour by hour
    told      bytea NOT NULL, -- for each tile the first hour that is not told yet, uint8
    seconds   bytea, -- in each cell; null until the day is over
    stops     bytea, -- visits that first stood still there, in each cell
    people    bytea, -- in each tile
    PRIMARY KEY (tenant_id, store_id, floor, day),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
-- Dense numbers do not shrink enough to be worth a decompression at each look: a year is read in one query.
ALTER TABLE heat_day ALTER by_hour SET STORAGE EXTERNAL, ALTER seconds SET STORAGE EXTERNAL,
    ALTER stops SET STORAGE EXTERNAL, ALTER people SET STORAGE EXTERNAL;
CALL protect('heat_day', 'SELECT', 'SELECT, INSERT, UPDATE');

-- A day of a store that is over and told. A count is null where it is of fewer than k people.
CREATE TABLE store_day (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    day       date NOT NULL,
    begins_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    people    integer, -- recognised
    stages    integer[] NOT NULL, -- visits that passed by, came in, were at a shelf, stayed there, bought
    newcomers integer, -- people here for the first time, of those who agreed to be known again
    returning_people integer,
    receipts  integer NOT NULL, -- sales
    joined    integer NOT NULL, -- … whose visit is known
    PRIMARY KEY (tenant_id, store_id, day),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('store_day', 'SELECT', 'SELECT, INSERT');

-- Moves from zone to zone on a day that is over. An empty name is the outside; '*' is several zones together that fewer than
-- k people went to each.
CREATE TABLE flow_day (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    day       date NOT NULL,
    from_zone text NOT NULL,
    to_zone   text NOT NULL,
    moves     integer NOT NULL,
    PRIMARY KEY (tenant_id, store_id, day, from_zone, to_zone),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('flow_day', 'SELECT', 'SELECT, INSERT');

-- What a visit is, where a store sees it otherwise than cloud/visits/rules.py does.
CREATE TABLE visit_rule (
    tenant_id   text NOT NULL,
    store_id    text NOT NULL,
    ends_after_s integer NOT NULL CHECK (ends_after_s BETWEEN 300 AND 21600),
    at_midnight boolean NOT NULL,
    shortest_s  integer NOT NULL CHECK (shortest_s BETWEEN 0 AND 3600),
    longest_s   integer NOT NULL CHECK (longest_s BETWEEN 600 AND 86400),
    engaged_s   integer NOT NULL CHECK (engaged_s BETWEEN 1 AND 3600),
    PRIMARY KEY (tenant_id, store_id),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('visit_rule', 'SELECT, INSERT, UPDATE', 'SELECT');

-- The grids of five minutes, of which two could be subtracted, are no more; how many positions were told is counted here.
DROP TABLE heat;
ALTER TABLE store ADD positions_told bigint NOT NULL DEFAULT 0;
