-- Stores and what stands in them: floors, zones, nodes, beacons, and each floor's radio map.

CREATE TABLE store (
    tenant_id text NOT NULL REFERENCES tenant,
    store_id  text NOT NULL CHECK (store_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name      text NOT NULL,
    tz        text NOT NULL,
    opens     time NOT NULL DEFAULT '09:00',
    closes    time NOT NULL DEFAULT '21:00',
    demo      boolean NOT NULL DEFAULT false,
    -- How far the locator has told this store's story, in the time of the sightings; null before the first.
    located_until timestamptz,
    PRIMARY KEY (tenant_id, store_id)
);
CALL protect('store', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE');

CREATE TABLE floor (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    floor     text NOT NULL,
    name      text NOT NULL,
    width_m   real NOT NULL CHECK (width_m > 0 AND width_m <= 1000),
    depth_m   real NOT NULL CHECK (depth_m > 0 AND depth_m <= 1000),
    cell_m    real NOT NULL CHECK (cell_m >= 0.1 AND cell_m <= 10),
    -- cloud.locate.radiomap.RadioMap as npz; null while the floor has not been surveyed.
    radio_map bytea,
    PRIMARY KEY (tenant_id, store_id, floor),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('floor', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT');

CREATE TABLE zone (
    tenant_id  text NOT NULL,
    store_id   text NOT NULL,
    zone       text NOT NULL CHECK (zone ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    floor      text NOT NULL,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('street', 'entrance', 'aisle', 'shelf', 'till', 'fitting', 'staff')),
    polygon    jsonb NOT NULL, -- [[x_m, y_m], …]
    categories text[] NOT NULL DEFAULT '{}', -- the planogram: what is sold here
    PRIMARY KEY (tenant_id, store_id, zone),
    FOREIGN KEY (tenant_id, store_id, floor) REFERENCES floor DEFERRABLE INITIALLY DEFERRED
);
CALL protect('zone', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT');

CREATE TABLE node (
    node_key  integer GENERATED ALWAYS AS IDENTITY UNIQUE, -- four bytes in every sighting instead of three names
    tenant_id text NOT NULL,
    node      text NOT NULL CHECK (node ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    store_id  text NOT NULL,
    floor     text NOT NULL,
    x_m       real NOT NULL,
    y_m       real NOT NULL,
    z_m       real NOT NULL,
    zone      text, -- the zone that this node alone can vouch for (a door, a shelf)
    retired_at timestamptz,
    -- As the node tells it:
    state     text NOT NULL DEFAULT 'never seen' CHECK (state IN ('never seen', 'online', 'offline')),
    state_at  timestamptz,
    health    jsonb,
    health_at timestamptz,
    PRIMARY KEY (tenant_id, node),
    FOREIGN KEY (tenant_id, store_id, floor) REFERENCES floor DEFERRABLE INITIALLY DEFERRED
);
CALL protect('node', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE');

CREATE TABLE beacon (
    beacon_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    subject   bigint NOT NULL, -- contract.identity.beacon_subject, as a signed 64-bit number
    uuid      uuid NOT NULL,
    major     integer NOT NULL CHECK (major BETWEEN 0 AND 65535),
    minor     integer NOT NULL CHECK (minor BETWEEN 0 AND 65535),
    role      text NOT NULL CHECK (role IN ('fixed', 'asset', 'staff')),
    label     text NOT NULL,
    floor     text,
    x_m       real,
    y_m       real,
    UNIQUE (tenant_id, store_id, subject),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('beacon', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT');
