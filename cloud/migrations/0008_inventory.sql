-- Tagged things: what readers saw change, and where each tag is as each node last told it.

-- A tag of a thing; members' cards never come here.
CREATE TABLE tag_event (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    time      timestamptz NOT NULL, -- when the node was sure
    since     timestamptz NOT NULL, -- when it happened: the first read in the zone, or the last one before it was gone
    node      text NOT NULL,
    epc       bytea NOT NULL,
    state     text NOT NULL CHECK (state IN ('arrived', 'moved', 'departed')),
    zone      text NOT NULL,
    origin    text NOT NULL, -- where it came from; empty unless it moved
    rssi      real, -- mean, dBm
    reads     integer NOT NULL CHECK (reads >= 0),
    PRIMARY KEY (tenant_id, store_id, time, epc, node, state)
);
CALL protect('tag_event', 'SELECT', 'SELECT, INSERT');

-- One row a tag and node: readers whose fields overlap each tell their own story, and the newest one that still has the
-- tag is believed. A tag that is gone keeps its row, so that what comes late cannot bring it back.
CREATE TABLE tag_place (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    epc       bytea NOT NULL,
    node      text NOT NULL,
    zone      text, -- null: gone
    gtin      text, -- of what the EPC names, where that is an article
    since     timestamptz NOT NULL,
    told_at   timestamptz NOT NULL, -- the time of the event that says so
    PRIMARY KEY (tenant_id, store_id, epc, node)
);
CALL protect('tag_place', 'SELECT', 'SELECT, INSERT, UPDATE');

-- The store's place in GS1's world, COMPANY.LOCATION of an SGLN: names its zones in EPCIS documents.
ALTER TABLE store ADD COLUMN sgln text CHECK (sgln ~ '^[0-9]{6,12}\.[0-9]{0,6}$' AND length(sgln) = 13);
