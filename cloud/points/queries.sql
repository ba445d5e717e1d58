-- name: bind
-- Whose points are meant, until the transaction ends.
SELECT set_config('aisle.tenant', %(tenant)s, true)

-- name: earn
-- Award points.
SELECT * FROM points_earn(%(member)s, %(wallet)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), %(pending)s, at_us(%(active_us)s),
    at_us(%(expires_us)s), %(valid_days)s, %(funder)s, %(receipt)s, %(rule)s, %(reason)s, %(actor)s)

-- name: activate
-- The pending points of an award become spendable.
SELECT * FROM points_activate(%(earn)s, at_us(%(at_us)s), %(actor)s)

-- name: spend
-- Spend points.
SELECT * FROM points_spend(%(member)s, %(wallet)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), %(receipt)s, %(reason)s,
    %(actor)s)

-- name: hold
-- Reserve points.
SELECT * FROM points_hold_for(%(member)s, %(wallet)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), at_us(%(until_us)s),
    %(receipt)s, %(actor)s)

-- name: commit
-- Spend what is held.
SELECT * FROM points_commit(%(hold)s::bigint, at_us(%(at_us)s), %(receipt)s, %(actor)s)

-- name: void
-- Give back what is held.
SELECT * FROM points_void(%(hold)s::bigint, at_us(%(at_us)s))

-- name: reverse_earn
-- Take back what returned goods had earned.
SELECT * FROM points_reverse_earn(%(earn)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), %(policy)s, %(receipt)s, %(actor)s)

-- name: reverse_spend
-- Give back what returned goods were paid with.
SELECT * FROM points_reverse_spend(%(spend)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), %(receipt)s, %(actor)s)

-- name: adjust
-- Credit or debit by hand.
SELECT * FROM points_adjust(%(member)s, %(wallet)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), %(reason)s, %(note)s,
    at_us(%(expires_us)s), %(actor)s)

-- name: decide
-- The second person's word on an adjustment.
SELECT * FROM points_decide(%(adjustment)s::bigint, %(approve)s, at_us(%(at_us)s), %(actor)s)

-- name: give
-- From one member to another.
SELECT * FROM points_give(%(from)s, %(into)s, %(wallet)s, %(amount)s::bigint, %(key)s, at_us(%(at_us)s), %(reason)s, %(actor)s)

-- name: merge
-- One member's points become another's.
SELECT * FROM points_merge_into(%(from)s, %(into)s, %(key)s, at_us(%(at_us)s), %(actor)s)

-- name: unmerge
-- A merge is undone.
SELECT * FROM points_unmerge(%(merge)s, %(key)s, at_us(%(at_us)s), %(actor)s)

-- name: refresh
-- What has come due for one member.
SELECT points_refresh(%(member)s, at_us(%(at_us)s))

-- name: sweep
-- What has come due for some members.
SELECT points_sweep(at_us(%(at_us)s), %(accounts)s)

-- name: close_day
-- The statement of a day.
SELECT day, transfers, issued, redeemed, expired, adjusted, outstanding, encode(digest, 'hex')
FROM points_close_day(%(day)s, at_us(%(at_us)s))

-- name: faults
-- What does not add up.
SELECT invariant, tenant, detail FROM points_faults()

-- name: erase
-- A tombstone in place of the member.
SELECT points_erase(%(member)s)

-- name: put_wallet
-- A wallet beside the main one.
SELECT points_put_wallet(%(wallet)s, %(name)s, %(funder)s)

-- name: policy
-- How amounts and dates are told.
SELECT scale, tz FROM points_policy WHERE tenant_id = %(tenant)s

-- name: balances
-- A member's wallets: spendable, held, pending.
SELECT a.wallet, w.name, a.credits - a.debits, a.held, coalesce(p.credits - p.debits, 0)
FROM points_account a JOIN points_wallet w USING (tenant_id, wallet)
    LEFT JOIN points_account p ON p.tenant_id = a.tenant_id AND p.member_id = a.member_id AND p.wallet = a.wallet
        AND p.kind = 'pending'
WHERE a.tenant_id = %(tenant)s AND a.member_id = %(member)s AND a.kind = 'active' ORDER BY a.wallet

-- name: due
-- By day, what will expire of a member's spendable points and what will turn spendable of the pending ones.
SELECT a.wallet, l.pending, (CASE WHEN l.pending THEN l.active_at ELSE l.expires_at END AT TIME ZONE %(tz)s)::date AS day,
       sum(l.remaining)::bigint
FROM points_lot l JOIN points_account a USING (tenant_id, account_id)
WHERE l.tenant_id = %(tenant)s AND a.member_id = %(member)s AND l.open
  AND CASE WHEN l.pending THEN l.active_at ELSE l.expires_at END IS NOT NULL
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

-- name: history
-- A member's movements with the running balance of their wallet.
SELECT * FROM (
    SELECT m.transfer_id, us(o.at), a.wallet, o.kind,
           CASE WHEN a.kind = 'pending' THEN 0 WHEN m.credit = a.account_id THEN m.amount ELSE -m.amount END AS amount,
           CASE WHEN a.kind = 'active' THEN CASE WHEN other.kind = 'pending' THEN -m.amount ELSE 0 END
                WHEN m.credit = a.account_id THEN m.amount ELSE -m.amount END AS pending,
           (sum(CASE WHEN a.kind = 'pending' THEN 0 WHEN m.credit = a.account_id THEN m.amount ELSE -m.amount END)
               OVER (PARTITION BY a.wallet ORDER BY m.transfer_id))::bigint AS balance,
           o.receipt, o.rule, o.reason,
           (SELECT us(min(l.expires_at)) FROM points_use u JOIN points_lot l USING (tenant_id, lot_id)
            WHERE u.tenant_id = m.tenant_id AND u.transfer_id = m.transfer_id AND u.amount > 0) AS expires_us
    FROM points_account a
        JOIN points_transfer m ON m.tenant_id = a.tenant_id AND a.account_id IN (m.debit, m.credit)
        JOIN points_account other ON other.tenant_id = m.tenant_id
            AND other.account_id = m.debit + m.credit - a.account_id
        JOIN points_operation o ON o.tenant_id = m.tenant_id AND o.operation_id = m.operation_id
    WHERE a.tenant_id = %(tenant)s AND a.member_id = %(member)s
      -- An activation is one movement, told from the side of what may be spent.
      AND NOT (a.kind = 'pending' AND other.kind = 'active')) h
WHERE %(before)s::bigint IS NULL OR transfer_id < %(before)s
ORDER BY transfer_id DESC LIMIT %(limit)s

-- name: member_of_card
-- The member who holds a card number.
SELECT member_id FROM member WHERE tenant_id = %(tenant)s AND card = %(card)s

-- name: adjustments
-- Adjustments of a state, newest first.
SELECT j.adjustment_id, m.card, a.wallet, j.amount, j.reason, j.note, j.state, j.asked_by, us(j.asked_at), j.decided_by,
       us(j.decided_at)
FROM points_adjustment j JOIN points_account a USING (tenant_id, account_id)
    LEFT JOIN member m ON m.tenant_id = j.tenant_id AND m.member_id = a.member_id
WHERE j.tenant_id = %(tenant)s AND j.state = %(state)s ORDER BY j.adjustment_id DESC LIMIT %(limit)s

-- name: liability
-- What was issued and is outstanding, by wallet and by who pays for it.
SELECT wallet, funder, sum(issued)::bigint, sum(outstanding)::bigint FROM (
    SELECT a.wallet, a.funder, sum(CASE WHEN m.debit = a.account_id THEN m.amount ELSE -m.amount END) AS issued,
           0 AS outstanding
    FROM points_account a JOIN points_transfer m ON m.tenant_id = a.tenant_id AND a.account_id IN (m.debit, m.credit)
    WHERE a.tenant_id = %(tenant)s AND a.kind = 'issuance' GROUP BY 1, 2
    UNION ALL
    SELECT a.wallet, l.funder, 0, sum(l.remaining) FROM points_lot l JOIN points_account a USING (tenant_id, account_id)
    WHERE l.tenant_id = %(tenant)s AND l.open GROUP BY 1, 2) both_
GROUP BY wallet, funder ORDER BY wallet, funder

-- name: worth
-- Digits of a point, and what a whole one costs.
SELECT scale, worth FROM points_policy WHERE tenant_id = %(tenant)s

-- name: manual
-- Manual credits by reason.
SELECT reason, count(*), sum(amount)::bigint FROM points_adjustment
WHERE tenant_id = %(tenant)s AND state = 'posted' AND amount > 0 GROUP BY reason ORDER BY 2 DESC, 1

-- name: credits
-- How many credits there were, and what staff added less what they took.
SELECT (SELECT count(*) FROM points_operation WHERE tenant_id = %(tenant)s AND kind = 'earn'),
       (SELECT coalesce(sum(amount), 0)::bigint FROM points_adjustment
        WHERE tenant_id = %(tenant)s AND state = 'posted')

-- name: cohorts
-- What became of each month's awards: parts that were given away or given back count with the award they came from.
SELECT month, sum(issued)::bigint, sum(redeemed)::bigint, sum(expired)::bigint, sum(open)::bigint FROM (
    SELECT (date_trunc('month', l.issued_at AT TIME ZONE 'UTC'))::date AS month,
           CASE WHEN o.kind IN ('earn', 'adjust', 'reverse_earn') THEN u.amount ELSE 0 END AS issued,
           CASE WHEN o.kind IN ('spend', 'reverse_spend') THEN -u.amount ELSE 0 END AS redeemed,
           CASE WHEN o.kind = 'expire' THEN -u.amount ELSE 0 END AS expired, 0 AS open
    FROM points_use u JOIN points_lot l USING (tenant_id, lot_id) JOIN points_transfer m USING (tenant_id, transfer_id)
        JOIN points_operation o ON o.tenant_id = m.tenant_id AND o.operation_id = m.operation_id
    WHERE u.tenant_id = %(tenant)s
    UNION ALL
    SELECT (date_trunc('month', issued_at AT TIME ZONE 'UTC'))::date, 0, 0, 0, remaining FROM points_lot
    WHERE tenant_id = %(tenant)s AND open) c
GROUP BY month ORDER BY month

-- name: tenants
-- Tenants whose ledger has begun.
SELECT tenant_id FROM tenant t WHERE EXISTS (SELECT FROM points_account a WHERE a.tenant_id = t.tenant_id)
ORDER BY tenant_id
