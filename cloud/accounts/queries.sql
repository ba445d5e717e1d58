-- name: account_of
-- The account behind a login, of whatever tenant.
SELECT tenant_id, account_id, password_hash, roles FROM account_of(%(login)s)

-- name: open_session
-- A session of staff; the cookie holds the secret, the table its hash.
INSERT INTO credential (secret_sha256, tenant_id, kind, account_id, roles, expires_at)
VALUES (%(secret)s, %(tenant)s, 'staff', %(account_id)s, %(roles)s, now() + interval '12 hours')

-- name: revoke
-- End a session or a key.
UPDATE credential SET revoked_at = now() WHERE secret_sha256 = %(secret)s

-- name: make_key
-- A key for a machine (a till, an importer).
INSERT INTO credential (secret_sha256, tenant_id, kind, roles, store_id, label)
VALUES (%(secret)s, %(tenant)s, 'key', %(roles)s, %(store)s, %(label)s)
