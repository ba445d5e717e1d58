-- name: put_member
-- A member from an import; a card that is known keeps its member, who then is not fresh.
INSERT INTO member (tenant_id, card, name, traits, staff, activation_sha256, activations_left)
VALUES (%(tenant)s, %(card)s, %(name)s, %(traits)s, %(staff)s, %(activation)s, 3)
ON CONFLICT (tenant_id, card) DO UPDATE SET name = excluded.name, traits = member.traits || excluded.traits,
    activation_sha256 = excluded.activation_sha256, activations_left = 3, staff = excluded.staff
RETURNING member_id, xmax = 0 AS fresh

-- name: put_device
-- A key for a phone, tag or wearable.
INSERT INTO device (tenant_id, member_id, token_key) VALUES (%(tenant)s, %(member)s, %(key)s)

-- name: say_consent
-- The newest word of a member on a purpose.
INSERT INTO consent (tenant_id, member_id, purpose, granted, text_version, channel, at)
VALUES (%(tenant)s, %(member)s, %(purpose)s, %(granted)s, %(text_version)s, %(channel)s, clock_timestamp())

-- name: consents
-- What a member has said of late.
SELECT purpose, granted FROM consent_now WHERE tenant_id = %(tenant)s AND member_id = %(member)s

-- name: tell_consent
-- The locator must forget a member within a second of a revoked consent.
SELECT pg_notify('aisle_consent', %(tenant)s)

-- name: me
-- A member's own card.
SELECT card, name, us(joined_at) FROM member WHERE tenant_id = %(tenant)s AND member_id = %(member)s

-- name: activate
-- Use up one of the admissions of an activation code.
UPDATE member SET activations_left = activations_left - 1
WHERE tenant_id = %(tenant)s AND card = %(card)s AND activation_sha256 = %(activation)s AND activations_left > 0
RETURNING member_id, name

-- name: open_session
-- A member's device may stay signed in for 90 days.
INSERT INTO credential (secret_sha256, tenant_id, kind, member_id, roles, expires_at)
VALUES (%(secret)s, %(tenant)s, 'member', %(member)s, '{member}', now() + interval '90 days')

-- name: revoke
-- End a session.
UPDATE credential SET revoked_at = now() WHERE secret_sha256 = %(secret)s

-- name: sensed
-- The token keys of members who consent to being sensed in the store, of all tenants or one; the newest word rules.
SELECT m.tenant_id, m.member_id, m.staff, d.token_key
FROM member m JOIN device d USING (tenant_id, member_id)
WHERE d.revoked_at IS NULL AND m.tenant_id = %(tenant)s
  AND coalesce((SELECT c.granted FROM consent c
                WHERE c.tenant_id = m.tenant_id AND c.member_id = m.member_id AND c.purpose = 'in_store_sensing'
                ORDER BY c.consent_id DESC LIMIT 1), false)

-- name: sensed_tags
-- The cards of members who consent to being sensed in the store; the newest word rules.
SELECT m.member_id, m.staff, t.subject
FROM member m JOIN member_tag t USING (tenant_id, member_id)
WHERE m.tenant_id = %(tenant)s
  AND coalesce((SELECT c.granted FROM consent c
                WHERE c.tenant_id = m.tenant_id AND c.member_id = m.member_id AND c.purpose = 'in_store_sensing'
                ORDER BY c.consent_id DESC LIMIT 1), false)

-- name: member_of_card
-- The member who holds a card number.
SELECT member_id FROM member WHERE tenant_id = %(tenant)s AND card = %(card)s

-- name: put_tag
-- An RFID card is this member's from now on.
INSERT INTO member_tag (tenant_id, subject, member_id) VALUES (%(tenant)s, %(subject)s, %(member)s)
ON CONFLICT (tenant_id, subject) DO UPDATE SET member_id = excluded.member_id, created_at = now()

-- name: newest_key
-- The key of the member's newest device.
SELECT token_key FROM device WHERE tenant_id = %(tenant)s AND member_id = %(member)s AND revoked_at IS NULL
ORDER BY device_id DESC LIMIT 1
