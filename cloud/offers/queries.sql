-- name: next_due
-- When the next trigger may have to be decided. One of a doubtful stay waits for the story to be told on.
SELECT us(min(d.due_at)) FROM trigger_due d JOIN presence p USING (presence_id)
WHERE p.trusted OR p.left_at IS NOT NULL

-- name: due
-- Triggers whose time has come and whose store's story is told nearly that far (a second of grace: evidence up to
-- a second before the instant is all that a decision in time can have). Taken one at a time by whichever worker is free.
SELECT d.presence_id, d.tenant_id, d.campaign, d.store_id, d.visit_id, d.member_id, d.due_at, s.tz,
       (p.trusted AND (p.left_at IS NULL OR p.left_at >= d.due_at)) AS stayed
FROM trigger_due d JOIN store s USING (tenant_id, store_id) JOIN presence p USING (presence_id)
WHERE d.due_at <= at_us(%(now)s) AND s.located_until >= d.due_at - interval '1 second'
  AND (p.trusted OR p.left_at IS NOT NULL)
ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED

-- name: done
-- The trigger was decided, or came to nothing.
DELETE FROM trigger_due WHERE presence_id = %(presence)s AND campaign = %(campaign)s

-- name: campaign
-- What a running campaign wants, with its offer and its segment.
SELECT c.campaign, c.name, c.zone, z.name, c.dwell_s, c.control_share, c.salt, s.condition,
       o.offer, o.title, o.body, o.ttl_s
FROM campaign c JOIN offer o USING (tenant_id, offer) JOIN segment s USING (tenant_id, segment)
     JOIN zone z USING (tenant_id, store_id, zone)
WHERE c.tenant_id = %(tenant)s AND c.campaign = %(campaign)s AND c.state = 'running'

-- name: lock_member
-- One decision about a member at a time: caps are counted and written under this lock.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/' || %(member)s, 0))

-- name: decided
-- Whether this visit was decided about already, by whichever source was sure first.
SELECT 1 FROM decision WHERE tenant_id = %(tenant)s AND campaign = %(campaign)s AND visit_id = %(visit)s

-- name: may_contact
-- Whether the member says yes to being sensed and to offers, now; the newest word rules, none means no.
SELECT count(*) = 2 FROM (
    SELECT DISTINCT ON (purpose) purpose, granted FROM consent
    WHERE tenant_id = %(tenant)s AND member_id = %(member)s AND purpose IN ('in_store_sensing', 'marketing_push')
    ORDER BY purpose, consent_id DESC) newest
WHERE granted

-- name: is_staff
-- Staff are never offered anything.
SELECT staff FROM member WHERE tenant_id = %(tenant)s AND member_id = %(member)s

-- name: contacts_of
-- What the caps count: contacts in this visit, and within 4 hours, a day, a week of the instant. After it as well:
-- a backlog is decided late, and a cap holds whichever was decided first.
SELECT count(*) FILTER (WHERE visit_id = %(visit)s),
       count(*) FILTER (WHERE abs(extract(epoch FROM at - %(at)s::timestamptz)) < 4 * 3600),
       count(*) FILTER (WHERE abs(extract(epoch FROM at - %(at)s::timestamptz)) < 24 * 3600),
       count(*) FILTER (WHERE abs(extract(epoch FROM at - %(at)s::timestamptz)) < 7 * 24 * 3600)
FROM contact WHERE tenant_id = %(tenant)s AND member_id = %(member)s
  AND at > %(at)s::timestamptz - interval '7 days' AND at < %(at)s::timestamptz + interval '7 days'

-- name: decide
-- The decision, whatever it was.
INSERT INTO decision (tenant_id, campaign, visit_id, member_id, presence_id, at, outcome, reason, arm)
VALUES (%(tenant)s, %(campaign)s, %(visit)s, %(member)s, %(presence)s, %(at)s, %(outcome)s, %(reason)s, %(arm)s)
RETURNING decision_id

-- name: contact
-- A contact: the only statement that makes one.
INSERT INTO contact (tenant_id, member_id, decision_id, visit_id, purpose, at)
VALUES (%(tenant)s, %(member)s, %(decision)s, %(visit)s, 'proximity', %(at)s) RETURNING contact_id

-- name: coupon
-- The coupon that the offer gives, good for today's visit.
INSERT INTO coupon (tenant_id, code, decision_id, member_id, offer, expires_at)
VALUES (%(tenant)s, %(code)s, %(decision)s, %(member)s, %(offer)s, %(at)s::timestamptz + interval '12 hours')

-- name: push
-- The message, on its way.
INSERT INTO push (tenant_id, member_id, contact_id, decision_id, offer, title, body, coupon, why, sent_at, expires_at)
VALUES (%(tenant)s, %(member)s, %(contact)s, %(decision)s, %(offer)s, %(title)s, %(body)s, %(code)s, %(why)s, %(at)s,
        %(at)s::timestamptz + make_interval(secs => %(ttl_s)s))
RETURNING push_id

-- name: tell_push
-- Wake the api that holds the member's stream.
SELECT pg_notify('aisle_push', %(tenant)s || '/' || %(member)s || '/' || %(push)s)
