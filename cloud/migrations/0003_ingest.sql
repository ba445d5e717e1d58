-- What nodes told: the ledger of batches, windows of sightings, the locator's queue, dead letters.

-- One row a batch; its name (tenant, node, epoch, seq) can be stored once. This is what makes events exactly once,
-- at a hundredth of the cost of a unique index on events.
CREATE TABLE batch (
    tenant_id text NOT NULL,
    node      text NOT NULL,
    epoch     uuid NOT NULL,
    seq       bigint NOT NULL,
    kind      text NOT NULL,
    digest    bytea NOT NULL, -- BLAKE2b-128 of the payload: another digest under the same name is an alarm
    events    integer NOT NULL,
    t0        timestamptz NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, node, epoch, seq)
);
CALL protect('batch', 'SELECT', 'SELECT, INSERT');

-- A window: one subject heard by one node for a second or so. Not granted to the api: raw windows stay inside.
-- `subject` and `radio` are unsigned on the wire and signed here, bit for bit.
CREATE TABLE sighting (
    time     timestamptz NOT NULL,
    subject  bigint NOT NULL,
    node_key integer NOT NULL,
    radio    integer NOT NULL,
    rssi     smallint NOT NULL, -- mean, 0.1 dBm
    count    smallint NOT NULL,
    peak     smallint NOT NULL, -- dBm
    kind     smallint NOT NULL  -- contract.identity.SubjectKind
) PARTITION BY RANGE (time);

CREATE TABLE crowd (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    node      text NOT NULL,
    time      timestamptz NOT NULL, -- the end of the span
    span_s    integer NOT NULL,
    radios    integer NOT NULL CHECK (radios >= 5),
    strong    integer NOT NULL,
    PRIMARY KEY (tenant_id, store_id, time, node)
);
CALL protect('crowd', 'SELECT', 'SELECT, INSERT');

-- Batches that the locator has yet to read, written in the transaction that stored them.
CREATE TABLE locate_queue (
    queue_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    node      text NOT NULL,
    payload   bytea NOT NULL
);
ALTER TABLE locate_queue ALTER payload SET STORAGE EXTERNAL; -- read once and deleted: compressing it is wasted
CREATE INDEX ON locate_queue (tenant_id, store_id, queue_id);
CALL protect('locate_queue', 'SELECT', 'SELECT, INSERT, DELETE');

CREATE TABLE dead_letter (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL, -- as the topic says it; '' where the topic itself is bad
    node      text NOT NULL,
    topic     text NOT NULL,
    reason    text NOT NULL,
    detail    text NOT NULL,
    payload   bytea NOT NULL,
    digest    bytea NOT NULL,
    times     integer NOT NULL DEFAULT 1, -- the same payload for the same reason is one letter
    at        timestamptz NOT NULL DEFAULT now(),
    retried_at timestamptz,
    UNIQUE (topic, digest, reason)
);
CREATE INDEX ON dead_letter (tenant_id, at DESC);
CALL protect('dead_letter', 'SELECT', 'SELECT, INSERT, UPDATE');
GRANT SELECT, INSERT ON sighting TO aisle_service;
