-- Plans in versions, their pictures, surveys kept, and what the places' own checks found.

-- Each version whole, valid from an instant until the next; the tables of 0002 hold the one that is valid now. A version
-- is never changed: a correction is a later one from the same instant. The first of a store is valid from the beginning.
CREATE TABLE plan (
    tenant_id  text NOT NULL,
    store_id   text NOT NULL,
    version    integer NOT NULL CHECK (version > 0),
    valid_from timestamptz NOT NULL,
    body       jsonb NOT NULL, -- cloud.places.models.Plan
    made_at    timestamptz NOT NULL,
    made_by    text, -- a login
    applied    boolean NOT NULL, -- false while its instant is still to come
    PRIMARY KEY (tenant_id, store_id, version),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CREATE INDEX ON plan (tenant_id, store_id, valid_from DESC, version DESC);
CREATE INDEX ON plan (valid_from) WHERE NOT applied;
CALL protect('plan', 'SELECT, INSERT', 'SELECT, UPDATE');
-- The worker applies a version whose instant has come.
GRANT INSERT, UPDATE, DELETE ON floor, zone, beacon TO aisle_service;
GRANT INSERT ON node TO aisle_service;

CREATE FUNCTION plan_at(tenant text, store text, at timestamptz) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT p.body FROM plan p
            WHERE p.tenant_id = tenant AND p.store_id = store AND p.valid_from <= at
            ORDER BY p.valid_from DESC, p.version DESC LIMIT 1);

-- For reports: yesterday's zones and floors in place of the tables of now.
CREATE FUNCTION zones_at(tenant text, store text, at timestamptz)
RETURNS TABLE (zone text, name text, kind text, floor text, polygon jsonb, categories text[])
LANGUAGE sql STABLE PARALLEL SAFE BEGIN ATOMIC
    SELECT z.zone, z.name, z.kind, z.floor, z.polygon, z.categories
    FROM jsonb_to_recordset(plan_at(tenant, store, at) -> 'zones')
         AS z(zone text, name text, kind text, floor text, polygon jsonb, categories text[]);
END;

CREATE FUNCTION floors_at(tenant text, store text, at timestamptz)
RETURNS TABLE (floor text, name text, width_m double precision, depth_m double precision, cell_m double precision)
LANGUAGE sql STABLE PARALLEL SAFE BEGIN ATOMIC
    SELECT f.floor, f.name, f.width_m, f.depth_m, f.cell_m
    FROM jsonb_to_recordset(plan_at(tenant, store, at) -> 'floors')
         AS f(floor text, name text, width_m double precision, depth_m double precision, cell_m double precision);
END;

-- A beacon that the plan no longer has is nobody any more; visits of it stay. One that comes back is itself again.
ALTER TABLE beacon ADD retired_at timestamptz;
CREATE OR REPLACE FUNCTION asset_heard(store text, asset bigint, since timestamptz, until timestamptz)
RETURNS TABLE (node text, mean_dbm double precision, sd_db double precision, n bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH heard AS (
        SELECT k.node, s.rssi / 10.0::double precision AS dbm, s.count::bigint AS packets
        FROM beacon b
             JOIN sighting s ON s.subject = b.subject AND s.kind = 2 -- contract.identity.SubjectKind.BEACON
             JOIN node k USING (node_key)
        WHERE b.tenant_id = current_tenant() AND b.store_id = store AND b.role = 'asset' AND b.subject = asset
          AND b.retired_at IS NULL
          AND k.tenant_id = b.tenant_id AND k.store_id = b.store_id AND k.retired_at IS NULL
          AND s.time > since AND s.time <= until
    ), mean AS (
        SELECT node, sum(dbm * packets) / sum(packets) AS mean, sum(packets)::bigint AS n, count(*) AS windows
        FROM heard GROUP BY node
    )
    -- As in 0012: the mean of c packets spreads by sd / sqrt(c).
    SELECT m.node, m.mean,
           coalesce(sqrt(sum(h.packets * (h.dbm - m.mean) ^ 2) / nullif(m.windows - 1, 0)), 0), m.n
    FROM mean m JOIN heard h USING (node) GROUP BY m.node, m.mean, m.windows, m.n ORDER BY m.mean DESC
$$;

-- A floor's picture, by the SHA-256 of what is kept of the file: a version of the plan names it, so it never changes.
CREATE TABLE plan_image (
    tenant_id   text NOT NULL,
    store_id    text NOT NULL,
    image       text NOT NULL CHECK (image ~ '^[0-9a-f]{64}$'),
    media_type  text NOT NULL CHECK (media_type IN ('image/png', 'image/jpeg')),
    width_px    integer NOT NULL,
    height_px   integer NOT NULL,
    content     bytea NOT NULL CHECK (octet_length(content) <= 8388608),
    uploaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, store_id, image),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
ALTER TABLE plan_image ALTER content SET STORAGE EXTERNAL; -- compressed already
CALL protect('plan_image', 'SELECT, INSERT', '');

-- A walk over a floor, kept with where the nodes stood: a later plan uses what of it still holds.
CREATE TABLE survey (
    survey_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    floor     text NOT NULL,
    version   integer NOT NULL, -- the plan it was walked on
    taken_at  timestamptz NOT NULL,
    taken_by  text,
    points    jsonb NOT NULL, -- [[x_m, y_m, node, mean_dbm, sd_db, n], …]
    nodes     jsonb NOT NULL, -- [[node, x_m, y_m, z_m], …] in the order of the map's rows
    places    integer NOT NULL,
    sd_db     real NOT NULL,
    radio_map bytea NOT NULL,
    FOREIGN KEY (tenant_id, store_id, version) REFERENCES plan
);
CREATE INDEX ON survey (tenant_id, store_id, floor, survey_id DESC);
CALL protect('survey', 'SELECT, INSERT', 'SELECT');

-- What the checks found wrong, once while it is open; closed by whoever mended it.
CREATE TABLE finding (
    finding_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  text NOT NULL,
    store_id   text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('beacon-cloned', 'beacon-elsewhere', 'map-aged', 'plan-refused')),
    about      text NOT NULL, -- uuid/major/minor of a beacon, a node, or a plan's version
    says       text NOT NULL,
    evidence   jsonb NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    closed_at  timestamptz,
    closed_by  text,
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CREATE UNIQUE INDEX finding_open ON finding (tenant_id, store_id, kind, about) WHERE closed_at IS NULL;
CREATE INDEX ON finding (tenant_id, store_id, last_at DESC);
CALL protect('finding', 'SELECT, UPDATE', 'SELECT, INSERT, UPDATE');

-- What each node heard of each fixed beacon, by the day: the map's age is told from weeks, raw windows stay for days.
CREATE TABLE fixed_level (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    beacon_id bigint NOT NULL REFERENCES beacon,
    node      text NOT NULL,
    day       date NOT NULL,
    mean_dbm  real NOT NULL,
    n         bigint NOT NULL, -- packets
    PRIMARY KEY (tenant_id, store_id, beacon_id, node, day)
);
CALL protect('fixed_level', '', 'SELECT, INSERT, UPDATE, DELETE');

-- Stores that have a plan already get it as their first version. The owner is bound by row security: it may look for as
-- long as this takes.
DO $$
DECLARE tbl text;
BEGIN
    FOREACH tbl IN ARRAY '{store,floor,zone,node,beacon}'::text[] LOOP
        EXECUTE format('CREATE POLICY backfill ON %I FOR SELECT TO aisle_owner USING (true)', tbl);
    END LOOP;
    CREATE POLICY backfill ON plan FOR INSERT TO aisle_owner WITH CHECK (true);

    INSERT INTO plan (tenant_id, store_id, version, valid_from, body, made_at, applied)
    SELECT s.tenant_id, s.store_id, 1, 'epoch', jsonb_build_object(
        'name', s.name, 'tz', s.tz, 'opens', to_char(s.opens, 'HH24:MI'), 'closes', to_char(s.closes, 'HH24:MI'),
        'demo', s.demo,
        'floors', (SELECT jsonb_agg(jsonb_build_object('floor', floor, 'name', name, 'width_m', width_m,
                          'depth_m', depth_m, 'cell_m', cell_m) ORDER BY floor)
                   FROM floor f WHERE (f.tenant_id, f.store_id) = (s.tenant_id, s.store_id)),
        'zones', (SELECT coalesce(jsonb_agg(jsonb_build_object('zone', zone, 'name', name, 'kind', kind, 'floor', floor,
                         'polygon', polygon, 'categories', categories) ORDER BY zone), '[]')
                  FROM zone z WHERE (z.tenant_id, z.store_id) = (s.tenant_id, s.store_id)),
        'nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('node', node, 'floor', floor, 'x_m', x_m, 'y_m', y_m,
                         'z_m', z_m, 'zone', zone) ORDER BY node), '[]')
                  FROM node k WHERE (k.tenant_id, k.store_id) = (s.tenant_id, s.store_id) AND k.retired_at IS NULL),
        'beacons', (SELECT coalesce(jsonb_agg(jsonb_build_object('uuid', uuid, 'major', major, 'minor', minor,
                           'role', role, 'label', label, 'floor', floor, 'x_m', x_m, 'y_m', y_m)
                           ORDER BY label, major, minor), '[]')
                    FROM beacon b WHERE (b.tenant_id, b.store_id) = (s.tenant_id, s.store_id))
        ), now(), true
    FROM store s WHERE EXISTS (SELECT FROM floor f WHERE (f.tenant_id, f.store_id) = (s.tenant_id, s.store_id));

    DROP POLICY backfill ON plan;
    FOREACH tbl IN ARRAY '{store,floor,zone,node,beacon}'::text[] LOOP
        EXECUTE format('DROP POLICY backfill ON %I', tbl);
    END LOOP;
END $$;
