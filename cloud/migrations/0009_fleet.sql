-- How nodes are claimed, configured and told whom not to hear.

-- A node's one-time code; only its hash is kept. A new code ends those before it.
CREATE TABLE claim (
    code_sha256 bytea PRIMARY KEY,
    tenant_id   text NOT NULL,
    store_id    text NOT NULL,
    node        text NOT NULL,
    made_by     text NOT NULL DEFAULT '', -- login
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    FOREIGN KEY (tenant_id, node) REFERENCES node
);
CREATE INDEX ON claim (tenant_id, node);
CALL protect('claim', 'SELECT, INSERT, UPDATE', '');

-- A node that claims itself has no tenant yet: its code says which. Asked twice at once it is used once.
CREATE POLICY use_claim ON claim TO aisle_owner USING (true) WITH CHECK (true);
CREATE FUNCTION use_claim(code bytea) RETURNS TABLE (tenant_id text, store_id text, node text)
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    UPDATE claim c SET used_at = now()
    WHERE c.code_sha256 = code AND c.used_at IS NULL AND c.expires_at > now()
    RETURNING c.tenant_id, c.store_id, c.node
$$;

-- The certificates that this cloud issued.
CREATE TABLE certificate (
    serial     text PRIMARY KEY, -- hexadecimal
    tenant_id  text NOT NULL,
    node       text NOT NULL,
    pem        text NOT NULL,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by text NOT NULL DEFAULT '', -- login; empty where a new claim did it
    FOREIGN KEY (tenant_id, node) REFERENCES node
);
CREATE INDEX ON certificate (tenant_id, node);
CALL protect('certificate', 'SELECT, INSERT, UPDATE', 'SELECT');

-- One broker serves all tenants, and its list names serial numbers only.
CREATE POLICY revoked ON certificate FOR SELECT TO aisle_owner USING (revoked_at IS NOT NULL);
CREATE FUNCTION revoked_certificates() RETURNS TABLE (serial text, revoked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT serial, revoked_at FROM certificate WHERE revoked_at IS NOT NULL AND expires_at > now() - interval '1 day'
$$;
REVOKE EXECUTE ON FUNCTION use_claim, revoked_certificates FROM PUBLIC;
GRANT EXECUTE ON FUNCTION use_claim, revoked_certificates TO aisle_app;

-- What a node is to run, and what it says that it runs.
ALTER TABLE node
    ADD COLUMN config_desired    integer NOT NULL DEFAULT 0, -- counts up with each change; 0: the node's own file
    ADD COLUMN config_settings   jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN config_desired_at timestamptz,
    ADD COLUMN config_desired_by text NOT NULL DEFAULT '', -- login
    ADD COLUMN config_answered   integer, -- the version that the node last said something about
    ADD COLUMN config_state      text CHECK (config_state IN ('applied', 'refused')),
    ADD COLUMN config_running    integer,
    ADD COLUMN config_problems   text[] NOT NULL DEFAULT '{}',
    ADD COLUMN config_answered_at timestamptz,
    ADD COLUMN config_drift_since timestamptz, -- null while it runs what it is to run
    ADD COLUMN opt_outs_known    integer NOT NULL DEFAULT 0;

-- Devices that a store must not hear: 3 bytes of SHA-256 over the store's salt and the address. No row names a device,
-- and none says when it was entered.
ALTER TABLE store
    ADD COLUMN opt_out_salt    bytea CHECK (length(opt_out_salt) = 16),
    ADD COLUMN opt_out_version integer NOT NULL DEFAULT 0;

CREATE TABLE opt_out (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    prefix    bytea NOT NULL CHECK (length(prefix) = 3),
    PRIMARY KEY (tenant_id, store_id, prefix),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('opt_out', 'SELECT, INSERT', 'SELECT');
