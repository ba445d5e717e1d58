-- Members, their consents and devices; receipts; segments, offers, campaigns and what came of them.

CREATE TABLE member (
    tenant_id  text NOT NULL REFERENCES tenant,
    member_id  uuid NOT NULL DEFAULT gen_random_uuid(),
    card       text NOT NULL CHECK (card ~ '^[0-9]{8,19}$'),
    name       text NOT NULL DEFAULT '',
    traits     jsonb NOT NULL DEFAULT '{}',
    staff      boolean NOT NULL DEFAULT false,
    joined_at  timestamptz NOT NULL DEFAULT now(),
    -- SHA-256 of the code that lets a device sign in to the app, and how many devices it may still admit.
    activation_sha256 bytea,
    activations_left  smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, member_id),
    UNIQUE (tenant_id, card)
);
CALL protect('member', 'SELECT, INSERT, UPDATE', 'SELECT');

-- A phone, tag or wearable that broadcasts the member's rotating token.
CREATE TABLE device (
    device_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  text NOT NULL,
    member_id  uuid NOT NULL,
    token_key  bytea NOT NULL CHECK (length(token_key) = 16),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    FOREIGN KEY (tenant_id, member_id) REFERENCES member
);
CREATE INDEX ON device (tenant_id, member_id);
CALL protect('device', 'SELECT, INSERT, UPDATE', 'SELECT');

-- A ledger: a row is never changed, the newest row of a purpose rules, no row means no.
CREATE TABLE consent (
    consent_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  text NOT NULL,
    member_id  uuid NOT NULL,
    purpose    text NOT NULL CHECK (purpose IN ('in_store_sensing', 'marketing_push', 'profiling')),
    granted    boolean NOT NULL,
    text_version text NOT NULL,
    channel    text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, member_id) REFERENCES member
);
CREATE INDEX ON consent (tenant_id, member_id, purpose, consent_id DESC);
CALL protect('consent', 'SELECT, INSERT', 'SELECT');

CREATE VIEW consent_now WITH (security_invoker = true) AS
    SELECT DISTINCT ON (tenant_id, member_id, purpose) tenant_id, member_id, purpose, granted, at
    FROM consent ORDER BY tenant_id, member_id, purpose, consent_id DESC;
GRANT SELECT ON consent_now TO aisle_app, aisle_service;

CREATE TABLE receipt (
    receipt_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text NOT NULL,
    store_id    text NOT NULL,
    receipt_uid text NOT NULL,
    till        text NOT NULL,
    at          timestamptz NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('sale', 'return')),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total       bigint NOT NULL, -- minor units
    member_id   uuid,
    coupon_codes text[] NOT NULL DEFAULT '{}',
    stored_at   timestamptz NOT NULL DEFAULT now(),
    -- The join with the visit during which it was paid: null while it may still be found.
    join_state  text NOT NULL DEFAULT 'open' CHECK (join_state IN ('open', 'joined', 'unmatched')),
    UNIQUE (tenant_id, store_id, receipt_uid),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CREATE INDEX ON receipt (tenant_id, member_id, at);
CREATE INDEX ON receipt (tenant_id, store_id, at);
CREATE INDEX ON receipt (receipt_id) WHERE join_state = 'open';
CALL protect('receipt', 'SELECT, INSERT', 'SELECT, UPDATE');

CREATE TABLE receipt_line (
    tenant_id  text NOT NULL,
    receipt_id bigint NOT NULL REFERENCES receipt,
    line_no    integer NOT NULL,
    sku        text NOT NULL,
    name       text NOT NULL,
    category   text NOT NULL,
    qty        bigint NOT NULL, -- thousandths
    unit_price bigint NOT NULL,
    discount   bigint NOT NULL,
    amount     bigint NOT NULL,
    PRIMARY KEY (receipt_id, line_no)
);
CALL protect('receipt_line', 'SELECT, INSERT', 'SELECT');

CREATE TABLE segment (
    tenant_id text NOT NULL REFERENCES tenant,
    segment   text NOT NULL,
    name      text NOT NULL,
    condition jsonb NOT NULL, -- a tree of cloud.conditions
    PRIMARY KEY (tenant_id, segment)
);
CALL protect('segment', 'SELECT, INSERT, UPDATE', 'SELECT');

CREATE TABLE offer (
    tenant_id   text NOT NULL REFERENCES tenant,
    offer       text NOT NULL,
    name        text NOT NULL,
    title       text NOT NULL,
    body        text NOT NULL,
    category    text NOT NULL, -- what must be bought: the outcome that is measured
    discount_bp integer NOT NULL CHECK (discount_bp BETWEEN 0 AND 10000), -- hundredths of a percent
    ttl_s       integer NOT NULL CHECK (ttl_s BETWEEN 10 AND 600),
    PRIMARY KEY (tenant_id, offer)
);
CALL protect('offer', 'SELECT, INSERT, UPDATE', 'SELECT');

CREATE TABLE campaign (
    tenant_id     text NOT NULL,
    campaign      text NOT NULL,
    name          text NOT NULL,
    store_id      text NOT NULL,
    zone          text NOT NULL,
    dwell_s       integer NOT NULL CHECK (dwell_s BETWEEN 1 AND 3600),
    segment       text NOT NULL,
    offer         text NOT NULL,
    control_share real NOT NULL DEFAULT 0.10 CHECK (control_share BETWEEN 0.05 AND 0.5),
    salt          text NOT NULL, -- makes campaigns' control groups independent of each other
    state         text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'running', 'stopped')),
    PRIMARY KEY (tenant_id, campaign),
    FOREIGN KEY (tenant_id, store_id, zone) REFERENCES zone,
    FOREIGN KEY (tenant_id, segment) REFERENCES segment,
    FOREIGN KEY (tenant_id, offer) REFERENCES offer
);
CALL protect('campaign', 'SELECT, INSERT, UPDATE', 'SELECT');
