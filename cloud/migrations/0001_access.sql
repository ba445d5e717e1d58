-- Tenants, staff accounts, sessions and keys; and the one procedure that puts a table under row security.

CREATE FUNCTION at_us(us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN timestamptz 'epoch' + us * interval '1 microsecond';

CREATE FUNCTION us(t timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (extract(epoch FROM t) * 1000000)::bigint;

CREATE FUNCTION current_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('aisle.tenant', true), '');

-- The api's role sees the tenant of its transaction and no other; without one it sees nothing. The service role
-- (ingest, locate, worker) serves all tenants and names the tenant in every statement. Force binds the owner as well.
CREATE PROCEDURE protect(tbl regclass, app_may text, service_may text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tbl);
    EXECUTE format('CREATE POLICY tenant ON %s TO aisle_app USING (tenant_id = current_tenant()) '
                   'WITH CHECK (tenant_id = current_tenant())', tbl);
    EXECUTE format('CREATE POLICY service ON %s TO aisle_service USING (true) WITH CHECK (true)', tbl);
    IF app_may <> '' THEN EXECUTE format('GRANT %s ON %s TO aisle_app', app_may, tbl); END IF;
    IF service_may <> '' THEN EXECUTE format('GRANT %s ON %s TO aisle_service', service_may, tbl); END IF;
END $$;

CREATE TABLE tenant (
    tenant_id  text PRIMARY KEY CHECK (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CALL protect('tenant', 'SELECT', 'SELECT');

CREATE TABLE account (
    account_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     text NOT NULL REFERENCES tenant,
    login         text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    roles         text[] NOT NULL CHECK (roles <@ '{admin,analyst,marketer,technician}'::text[] AND roles <> '{}'),
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz
);
CALL protect('account', 'SELECT, INSERT', '');

-- A session or a machine's key: only the SHA-256 of its secret is kept.
CREATE TABLE credential (
    secret_sha256 bytea PRIMARY KEY,
    tenant_id     text NOT NULL REFERENCES tenant,
    kind          text NOT NULL CHECK (kind IN ('staff', 'member', 'key')),
    account_id    bigint REFERENCES account,
    member_id     uuid,
    roles         text[] NOT NULL,
    store_id      text,
    label         text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz
);
CREATE INDEX ON credential (tenant_id, member_id) WHERE member_id IS NOT NULL;
CALL protect('credential', 'SELECT, INSERT, UPDATE', '');

-- Who is calling is asked before the tenant is known, so these two functions of the owner look across tenants:
-- by the hash of a 256-bit secret, and by login. They return what the caller already proved or must prove.
CREATE POLICY sign_in ON credential FOR SELECT TO aisle_owner USING (true);
CREATE POLICY sign_in ON account FOR SELECT TO aisle_owner USING (true);

CREATE FUNCTION credential_of(secret bytea)
RETURNS TABLE (tenant_id text, kind text, account_id bigint, member_id uuid, roles text[], store_id text, login text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT c.tenant_id, c.kind, c.account_id, c.member_id, c.roles, c.store_id, a.login
    FROM credential c LEFT JOIN account a USING (account_id)
    WHERE c.secret_sha256 = secret AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now())
      AND a.disabled_at IS NULL
$$;

CREATE FUNCTION account_of(wanted text)
RETURNS TABLE (tenant_id text, account_id bigint, password_hash text, roles text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
    SELECT tenant_id, account_id, password_hash, roles FROM account WHERE login = wanted AND disabled_at IS NULL
$$;

-- The first account of a tenant is made by whoever runs the installation, as the owner.
CREATE POLICY founding ON tenant TO aisle_owner USING (true) WITH CHECK (true);
CREATE POLICY founding ON account FOR INSERT TO aisle_owner WITH CHECK (true);

REVOKE EXECUTE ON FUNCTION credential_of, account_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION credential_of, account_of TO aisle_app;
