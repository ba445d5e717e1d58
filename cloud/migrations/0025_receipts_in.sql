-- Receipts in: what a receipt says beyond its lines, what could not be taken yet, and files that are being read.

ALTER TABLE receipt
    ADD COLUMN cashier text,
    ADD COLUMN business_date date,
    ADD COLUMN discount bigint NOT NULL DEFAULT 0, -- of the whole receipt, minor units: lines - discount = total
    ADD COLUMN discounts jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN tenders jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN source text NOT NULL DEFAULT 'api',
    -- Who the till said it was; kept where nobody is known by it yet.
    ADD COLUMN ref_kind text,
    ADD COLUMN ref_value text,
    -- What a return, void or correction is about: as it was said, and the row.
    ADD COLUMN original_store text,
    ADD COLUMN original_uid text,
    ADD COLUMN original_receipt_id bigint REFERENCES receipt,
    -- SHA-256 of the content. Null: stored before digests were kept.
    ADD COLUMN digest bytea,
    DROP CONSTRAINT receipt_kind_check,
    ADD CONSTRAINT receipt_kind_check CHECK (kind IN ('sale', 'return', 'void', 'correction'));

-- The owner is under row security like everybody; for this one statement it sees what it fills in.
ALTER TABLE receipt NO FORCE ROW LEVEL SECURITY;
ALTER TABLE store NO FORCE ROW LEVEL SECURITY;
UPDATE receipt r SET business_date = (r.at AT TIME ZONE s.tz)::date
FROM store s WHERE (s.tenant_id, s.store_id) = (r.tenant_id, r.store_id);
ALTER TABLE store FORCE ROW LEVEL SECURITY;
ALTER TABLE receipt FORCE ROW LEVEL SECURITY;

CREATE INDEX receipt_day ON receipt (tenant_id, business_date, store_id);
CREATE INDEX receipt_original ON receipt (original_receipt_id) WHERE original_receipt_id IS NOT NULL;
GRANT INSERT ON receipt, receipt_line TO aisle_service;

-- A receipt that was not taken: it does not hold together, or it waits for the sale that it takes back. Never deleted
-- by the product; one payload stands once, however often it comes.
CREATE TABLE receipt_quarantine (
    quarantine_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id      text NOT NULL REFERENCES tenant,
    store_id       text, -- as the receipt says it, known or not
    receipt_uid    text,
    source         text NOT NULL, -- the file's name, or 'api'
    line           integer, -- where in the file the receipt begins
    state          text NOT NULL CHECK (state IN ('parked', 'refused', 'stored', 'discarded')),
    reason         text NOT NULL,
    field          text,
    detail         text NOT NULL,
    payload        jsonb NOT NULL, -- the canonical receipt, or {"raw": text} where none could be made of it
    digest         bytea NOT NULL,
    original_store text, -- what a parked receipt waits for
    original_uid   text,
    at             timestamptz NOT NULL DEFAULT now(),
    settled_at     timestamptz,
    UNIQUE (tenant_id, digest)
);
CREATE INDEX ON receipt_quarantine (tenant_id, original_store, original_uid) WHERE state = 'parked';
CREATE INDEX ON receipt_quarantine (tenant_id, quarantine_id) WHERE state IN ('parked', 'refused');
CALL protect('receipt_quarantine', 'SELECT, INSERT, UPDATE', 'SELECT, INSERT, UPDATE');

-- A file on its way in. `done` moves in the transaction that stores the receipts: an import that was cut goes on there.
CREATE TABLE receipt_import (
    tenant_id   text NOT NULL REFERENCES tenant,
    digest      bytea NOT NULL, -- SHA-256 of file, mapping and store
    source      text NOT NULL,
    done        bigint NOT NULL DEFAULT 0, -- receipts read, good or bad
    stored      bigint NOT NULL DEFAULT 0,
    duplicates  bigint NOT NULL DEFAULT 0,
    parked      bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, digest)
);
CALL protect('receipt_import', '', 'SELECT, INSERT, UPDATE');

-- What was undone cannot be undone again.
CREATE UNIQUE INDEX receipt_void_once ON receipt (original_receipt_id) WHERE kind = 'void';
