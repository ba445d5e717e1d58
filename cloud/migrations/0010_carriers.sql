-- Crowds heard over Wi-Fi beside those over Bluetooth; members' RFID cards.

ALTER TABLE crowd
    ADD COLUMN source text NOT NULL DEFAULT 'ble' CHECK (source IN ('ble', 'wifi', 'stations')),
    ADD COLUMN devices integer NOT NULL DEFAULT 0, -- distinct ones: of probe requests estimated, of stations counted
    ADD COLUMN devices_strong integer NOT NULL DEFAULT 0,
    ADD COLUMN frames integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT crowd_pkey,
    ADD PRIMARY KEY (tenant_id, store_id, time, node, source);

-- A card of a member: contract.identity.tag_subject of its EPC as a signed 64-bit number; the EPC itself is not kept.
CREATE TABLE member_tag (
    tenant_id  text NOT NULL,
    subject    bigint NOT NULL,
    member_id  uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, subject),
    FOREIGN KEY (tenant_id, member_id) REFERENCES member
);
CREATE INDEX ON member_tag (tenant_id, member_id);
CALL protect('member_tag', 'SELECT, INSERT, UPDATE', 'SELECT');
