-- name: inbox
-- What a member was sent, newest first; a coupon that was used says so.
SELECT p.push_id, p.title, p.body, p.offer, p.coupon,
       CASE WHEN c.used_receipt_id IS NOT NULL THEN 'used' WHEN p.dismissed_at IS NOT NULL THEN 'dismissed'
            WHEN p.clicked_at IS NOT NULL THEN 'clicked'
            WHEN p.shown_at IS NOT NULL THEN 'shown' WHEN p.expires_at < at_us(%(now)s) THEN 'expired'
            ELSE 'sent' END,
       us(p.sent_at), us(p.expires_at), p.why
FROM push p JOIN coupon c ON c.tenant_id = p.tenant_id AND c.code = p.coupon
WHERE p.tenant_id = %(tenant)s AND p.member_id = %(member)s AND p.push_id > %(after)s
ORDER BY p.push_id DESC LIMIT 100

-- name: mark
-- What the member's app did with a push, the first time it says so. An instant before the push is no instant: now then.
UPDATE push SET
    shown_at = CASE WHEN %(state)s IN ('shown', 'clicked') THEN coalesce(shown_at, said.at) ELSE shown_at END,
    clicked_at = CASE WHEN %(state)s = 'clicked' THEN coalesce(clicked_at, said.at) ELSE clicked_at END,
    dismissed_at = CASE WHEN %(state)s = 'dismissed' THEN coalesce(dismissed_at, said.at) ELSE dismissed_at END
FROM (SELECT push_id AS said_of, greatest(sent_at, at_us(CASE WHEN at_us(%(at)s) < sent_at THEN %(now)s
                                                               ELSE %(at)s END)) AS at
      FROM push WHERE tenant_id = %(tenant)s AND member_id = %(member)s AND push_id = %(push)s) said
WHERE push_id = said.said_of
RETURNING push_id
