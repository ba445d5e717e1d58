-- name: segments
-- The tenant's segments.
SELECT segment, name, condition FROM segment WHERE tenant_id = %(tenant)s ORDER BY segment

-- name: put_segment
-- Make or change a segment.
INSERT INTO segment (tenant_id, segment, name, condition) VALUES (%(tenant)s, %(segment)s, %(name)s, %(condition)s)
ON CONFLICT (tenant_id, segment) DO UPDATE SET name = excluded.name, condition = excluded.condition

-- name: offers
-- The tenant's offers.
SELECT offer, name, title, body, category, discount_bp, ttl_s FROM offer WHERE tenant_id = %(tenant)s ORDER BY offer

-- name: put_offer
-- Make or change an offer.
INSERT INTO offer (tenant_id, offer, name, title, body, category, discount_bp, ttl_s)
VALUES (%(tenant)s, %(offer)s, %(name)s, %(title)s, %(body)s, %(category)s, %(discount_bp)s, %(ttl_s)s)
ON CONFLICT (tenant_id, offer) DO UPDATE SET name = excluded.name, title = excluded.title, body = excluded.body,
    category = excluded.category, discount_bp = excluded.discount_bp, ttl_s = excluded.ttl_s

-- name: campaigns
-- The tenant's campaigns.
SELECT campaign, name, store_id, zone, dwell_s, segment, offer, control_share, state
FROM campaign WHERE tenant_id = %(tenant)s ORDER BY campaign

-- name: campaign_state
-- A campaign's state.
SELECT state FROM campaign WHERE tenant_id = %(tenant)s AND campaign = %(campaign)s

-- name: put_campaign
-- Make a campaign, or change a draft: what ran may not be changed, or its result would mean nothing.
INSERT INTO campaign (tenant_id, campaign, name, store_id, zone, dwell_s, segment, offer, control_share, salt)
VALUES (%(tenant)s, %(campaign)s, %(name)s, %(store)s, %(zone)s, %(dwell_s)s, %(segment)s, %(offer)s,
        %(control_share)s, %(salt)s)
ON CONFLICT (tenant_id, campaign) DO UPDATE SET name = excluded.name, store_id = excluded.store_id,
    zone = excluded.zone, dwell_s = excluded.dwell_s, segment = excluded.segment, offer = excluded.offer,
    control_share = excluded.control_share
WHERE campaign.state = 'draft'
RETURNING campaign

-- name: set_state
-- Start or stop a campaign.
UPDATE campaign SET state = %(state)s WHERE tenant_id = %(tenant)s AND campaign = %(campaign)s

-- name: outcomes
-- How decisions ended, with what the app reported and the till took.
SELECT d.outcome, d.reason, count(*), count(p.shown_at), count(p.clicked_at), count(c.used_receipt_id)
FROM decision d LEFT JOIN push p USING (decision_id) LEFT JOIN coupon c USING (decision_id)
WHERE d.tenant_id = %(tenant)s AND d.campaign = %(campaign)s
GROUP BY d.outcome, d.reason

-- name: arms
-- Intention to treat: each member by the first trigger, in the arm that was drawn, whether or not a message went out;
-- bought = a receipt of the member with the offer's category within two hours after the trigger.
WITH first_trigger AS (
    SELECT DISTINCT ON (member_id) member_id, arm, at FROM decision
    WHERE tenant_id = %(tenant)s AND campaign = %(campaign)s AND arm IS NOT NULL
    ORDER BY member_id, at)
SELECT f.arm, count(*), count(*) FILTER (WHERE EXISTS (
    SELECT 1 FROM receipt r JOIN receipt_line l USING (receipt_id)
    WHERE r.tenant_id = %(tenant)s AND r.member_id = f.member_id AND r.kind = 'sale' AND l.category = o.category
      AND r.at >= f.at AND r.at <= f.at + interval '2 hours'))
FROM first_trigger f CROSS JOIN (
    SELECT o.category FROM campaign c JOIN offer o USING (tenant_id, offer)
    WHERE c.tenant_id = %(tenant)s AND c.campaign = %(campaign)s) o
GROUP BY f.arm
