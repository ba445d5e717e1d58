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

-- A stranger's pseudonym may be kept for a day, whatever else is kept of the same second.
CREATE FUNCTION forget_pseudonyms(before timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE gone bigint;
BEGIN
    DELETE FROM sighting WHERE kind = 3 AND time < before;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
REVOKE EXECUTE ON FUNCTION forget_pseudonyms FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_pseudonyms TO aisle_service;

GRANT DELETE ON tag_event, tag_place TO aisle_service;
