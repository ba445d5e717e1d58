-- The points ledger: double entry, and beneath a member's balance the lots it is made of, each with its own expiry.
--
-- An operation is what was asked, once per key; its transfers move points between two accounts and are never changed;
-- a use tells by how much a transfer changed a lot. All instants are the caller's. Amounts are whole programme units
-- (points_policy.scale tells how many make a point). Only the functions below write, as the owner: no other role may
-- insert, update or delete here. They act for the tenant that the transaction is bound to, and row security holds them
-- to it.

CREATE TABLE points_policy (
    tenant_id     text PRIMARY KEY REFERENCES tenant,
    scale         smallint NOT NULL DEFAULT 2 CHECK (scale BETWEEN 0 AND 6), -- at 2, 150 units are 1.50 points
    tz            text NOT NULL DEFAULT 'UTC', -- in which members are told dates
    returns       text NOT NULL DEFAULT 'within_balance'
                  CHECK (returns IN ('only_pending', 'within_balance', 'unlimited')),
    grace_days    smallint NOT NULL DEFAULT 30 CHECK (grace_days BETWEEN 1 AND 3660), -- of points given back after expiry
    approve_above bigint NOT NULL DEFAULT 100000 CHECK (approve_above >= 0), -- units that one person may adjust alone
    worth         bigint NOT NULL DEFAULT 100 CHECK (worth >= 0) -- minor units of money that one whole point costs
);

CREATE TABLE points_wallet (
    tenant_id text NOT NULL REFERENCES tenant,
    wallet    text NOT NULL CHECK (wallet ~ '^[a-z0-9][a-z0-9:-]{0,62}$'),
    name      text NOT NULL DEFAULT '',
    funder    text NOT NULL DEFAULT '', -- the partner who pays for all of it; '' where each award may name its own
    PRIMARY KEY (tenant_id, wallet)
);

CREATE TABLE points_account (
    tenant_id  text NOT NULL,
    account_id bigint GENERATED ALWAYS AS IDENTITY,
    wallet     text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('issuance', 'redemption', 'breakage', 'adjustment', 'pending', 'active')),
    member_id  uuid, -- a tombstone once the member is erased: no foreign key
    funder     text NOT NULL DEFAULT '',
    -- Totals of members' accounts only. The programme's own take part in everything: a total would be one hot row.
    debits     bigint NOT NULL DEFAULT 0,
    credits    bigint NOT NULL DEFAULT 0,
    held       bigint NOT NULL DEFAULT 0, -- reserved by open holds
    owed       bigint NOT NULL DEFAULT 0, -- taken back beyond what was there: the next points pay it
    PRIMARY KEY (tenant_id, account_id),
    UNIQUE NULLS NOT DISTINCT (tenant_id, member_id, wallet, kind, funder),
    CHECK ((kind IN ('pending', 'active')) = (member_id IS NOT NULL)),
    CHECK (held >= 0 AND owed >= 0 AND credits - debits + owed >= held)
) WITH (fillfactor = 70);

CREATE TABLE points_operation (
    tenant_id    text NOT NULL,
    operation_id bigint GENERATED ALWAYS AS IDENTITY,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    kind         text NOT NULL,
    asked        jsonb NOT NULL, -- the same key with anything else is refused; holds no member's id
    wanted       bigint NOT NULL CHECK (wanted >= 0),
    amount       bigint NOT NULL CHECK (amount BETWEEN 0 AND wanted), -- what was moved
    reverses     bigint, -- the operation that is undone, in part or whole
    at           timestamptz NOT NULL,
    receipt      text,
    rule         text,
    reason       text NOT NULL DEFAULT '',
    actor        text NOT NULL,
    PRIMARY KEY (tenant_id, operation_id),
    UNIQUE (tenant_id, key),
    FOREIGN KEY (tenant_id, reverses) REFERENCES points_operation
);
CREATE INDEX ON points_operation (tenant_id, reverses) WHERE reverses IS NOT NULL;

-- No foreign keys from here to `points_use`: each would look up and lock a row that the same function has just written or
-- locked, and the programme's accounts are everybody's. points_faults looks instead.
CREATE TABLE points_transfer (
    tenant_id    text NOT NULL,
    transfer_id  bigint GENERATED ALWAYS AS IDENTITY,
    operation_id bigint NOT NULL,
    debit        bigint NOT NULL,
    credit       bigint NOT NULL CHECK (credit <> debit),
    amount       bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (tenant_id, transfer_id)
);
CREATE INDEX ON points_transfer (tenant_id, operation_id);
CREATE INDEX ON points_transfer (tenant_id, debit, transfer_id);
CREATE INDEX ON points_transfer (tenant_id, credit, transfer_id);

-- One per award. What is left of it lies in its member's active account, or in the pending one until it turns active.
CREATE TABLE points_lot (
    tenant_id    text NOT NULL,
    lot_id       bigint GENERATED ALWAYS AS IDENTITY,
    account_id   bigint NOT NULL, -- the active account of whom it belongs to, also while it is pending
    operation_id bigint NOT NULL, -- made it
    parent       bigint, -- of a part that was given away, or given back after its expiry
    funder       text NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    remaining    bigint NOT NULL CHECK (remaining BETWEEN 0 AND amount),
    held         bigint NOT NULL DEFAULT 0 CHECK (held BETWEEN 0 AND remaining),
    open         boolean GENERATED ALWAYS AS (remaining > 0) STORED, -- indexed in place of `remaining`, which changes often
    pending      boolean NOT NULL,
    issued_at    timestamptz NOT NULL,
    active_at    timestamptz, -- null: pending until something happens
    valid_days   integer CHECK (valid_days > 0), -- from the activation on
    expires_at   timestamptz, -- null: never, or not known before the activation
    PRIMARY KEY (tenant_id, lot_id)
) WITH (fillfactor = 70);
CREATE INDEX ON points_lot (tenant_id, account_id, expires_at, lot_id) WHERE open;
CREATE INDEX ON points_lot (tenant_id, operation_id);
CREATE INDEX ON points_lot (tenant_id, parent) WHERE parent IS NOT NULL;
CREATE INDEX ON points_lot (tenant_id, active_at) WHERE open AND pending;
CREATE INDEX ON points_lot (tenant_id, expires_at) WHERE open AND NOT pending;

CREATE TABLE points_use (
    tenant_id   text NOT NULL,
    use_id      bigint GENERATED ALWAYS AS IDENTITY,
    transfer_id bigint NOT NULL,
    lot_id      bigint NOT NULL,
    amount      bigint NOT NULL CHECK (amount <> 0), -- added to what remains of the lot
    PRIMARY KEY (tenant_id, use_id)
);
CREATE INDEX ON points_use (tenant_id, transfer_id);
CREATE INDEX ON points_use (tenant_id, lot_id);

-- What a return took beyond the balance: a transfer without lots to use, until points arrive that pay it.
CREATE TABLE points_debt (
    tenant_id   text NOT NULL,
    transfer_id bigint NOT NULL,
    account_id  bigint NOT NULL,
    amount      bigint NOT NULL CHECK (amount > 0),
    remaining   bigint NOT NULL CHECK (remaining BETWEEN 0 AND amount),
    PRIMARY KEY (tenant_id, transfer_id),
    FOREIGN KEY (tenant_id, transfer_id) REFERENCES points_transfer
);
CREATE INDEX ON points_debt (tenant_id, account_id) WHERE remaining > 0;

-- The first phase of a spend. Its lots are reserved: they do not expire before it is resolved, which is once.
CREATE TABLE points_hold (
    tenant_id  text NOT NULL,
    hold_id    bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    key        text NOT NULL,
    asked      jsonb NOT NULL,
    amount     bigint NOT NULL CHECK (amount > 0),
    state      text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'committed', 'voided', 'timed_out')),
    made_at    timestamptz NOT NULL,
    until      timestamptz NOT NULL,
    receipt    text,
    actor      text NOT NULL,
    PRIMARY KEY (tenant_id, hold_id),
    UNIQUE (tenant_id, key),
    FOREIGN KEY (tenant_id, account_id) REFERENCES points_account
);
CREATE INDEX ON points_hold (tenant_id, account_id) WHERE state = 'held';
CREATE INDEX ON points_hold (tenant_id, until) WHERE state = 'held';

CREATE TABLE points_hold_lot (
    tenant_id text NOT NULL,
    hold_id   bigint NOT NULL,
    lot_id    bigint NOT NULL,
    amount    bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (tenant_id, hold_id, lot_id),
    FOREIGN KEY (tenant_id, hold_id) REFERENCES points_hold,
    FOREIGN KEY (tenant_id, lot_id) REFERENCES points_lot
);
CREATE INDEX ON points_hold_lot (tenant_id, lot_id);

-- What staff credit or debit by hand. Above the policy's amount it waits for a second person.
CREATE TABLE points_adjustment (
    tenant_id     text NOT NULL,
    adjustment_id bigint GENERATED ALWAYS AS IDENTITY,
    account_id    bigint NOT NULL,
    key           text NOT NULL,
    asked         jsonb NOT NULL,
    amount        bigint NOT NULL CHECK (amount <> 0),
    reason        text NOT NULL CHECK (length(reason) BETWEEN 1 AND 40),
    note          text NOT NULL DEFAULT '',
    asked_by      text NOT NULL,
    asked_at      timestamptz NOT NULL,
    expires_at    timestamptz,
    state         text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'posted', 'rejected')),
    decided_by    text,
    decided_at    timestamptz,
    PRIMARY KEY (tenant_id, adjustment_id),
    UNIQUE (tenant_id, key),
    FOREIGN KEY (tenant_id, account_id) REFERENCES points_account
);
CREATE INDEX ON points_adjustment (tenant_id, adjustment_id) WHERE state = 'waiting';

-- What a merge moved, so that it can be undone.
CREATE TABLE points_merge (
    tenant_id    text NOT NULL,
    operation_id bigint NOT NULL,
    wallet       text NOT NULL,
    from_account bigint NOT NULL,
    into_account bigint NOT NULL,
    lots         bigint[] NOT NULL,
    debts        bigint[] NOT NULL,
    PRIMARY KEY (tenant_id, operation_id, wallet),
    FOREIGN KEY (tenant_id, operation_id) REFERENCES points_operation
);

-- One a day: all transfers since the one before, and a digest over them and over the digest before.
CREATE TABLE points_statement (
    tenant_id     text NOT NULL REFERENCES tenant,
    day           date NOT NULL,
    closed_at     timestamptz NOT NULL,
    last_transfer bigint NOT NULL,
    transfers     bigint NOT NULL,
    issued        bigint NOT NULL,
    redeemed      bigint NOT NULL,
    expired       bigint NOT NULL,
    adjusted      bigint NOT NULL,
    outstanding   bigint NOT NULL, -- at the close, of all members
    digest        bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (tenant_id, day)
);

CREATE FUNCTION points_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the points ledger is only added to: % of % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

DO $$
DECLARE tbl text;
BEGIN
    FOREACH tbl IN ARRAY ARRAY['wallet', 'account', 'operation', 'transfer', 'lot', 'use', 'debt', 'hold', 'hold_lot',
                               'adjustment', 'merge', 'statement', 'policy'] LOOP
        tbl := 'points_' || tbl;
        EXECUTE format('CALL protect(%L, %L, %L)', tbl, 'SELECT', 'SELECT');
        EXECUTE format('CREATE POLICY ledger ON %I TO aisle_owner USING (tenant_id = current_tenant()) '
                       'WITH CHECK (tenant_id = current_tenant())', tbl);
    END LOOP;
    -- Statement triggers: they also fire for an update or delete of no rows, and nobody may switch them off but the owner.
    FOREACH tbl IN ARRAY ARRAY['operation', 'transfer', 'use', 'merge', 'statement'] LOOP
        tbl := 'points_' || tbl;
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION points_immutable()', tbl);
    END LOOP;
END $$;
CREATE POLICY points ON member FOR SELECT TO aisle_owner USING (tenant_id = current_tenant());

-- Reads

CREATE FUNCTION points_policy_now() RETURNS points_policy LANGUAGE plpgsql STABLE AS $$
DECLARE found_ points_policy;
BEGIN
    SELECT * INTO found_ FROM points_policy WHERE tenant_id = current_tenant();
    IF found_.tenant_id IS NULL THEN
        found_ := ROW(current_tenant(), 2, 'UTC', 'within_balance', 30, 100000, 100)::points_policy;
    END IF;
    RETURN found_;
END $$;

-- What an operation answered before: 'again', 'reused' for a key that stood for something else, null for a new key.
CREATE FUNCTION points_known(p_key text, p_asked jsonb, OUT outcome text, OUT operation bigint, OUT moved bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT CASE WHEN o.asked = p_asked THEN 'again' ELSE 'reused' END, o.operation_id, o.amount
    INTO outcome, operation, moved
    FROM points_operation o WHERE o.tenant_id = current_tenant() AND o.key = p_key;
END $$;

-- Writes that the operations below are made of. They expect the member's active account to be locked.

CREATE FUNCTION points_active(p_member uuid, p_wallet text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); id bigint;
BEGIN
    SELECT account_id INTO id FROM points_account
    WHERE tenant_id = t AND member_id = p_member AND wallet = p_wallet AND kind = 'active' AND funder = '';
    RETURN id;
END $$;

-- An account, made at its first use; null for a member or wallet that is not there. Everybody has the wallet `main`.
CREATE FUNCTION points_open(p_member uuid, p_wallet text, p_kind text, p_funder text DEFAULT '') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); id bigint;
BEGIN
    LOOP
        IF p_member IS NULL THEN
            SELECT account_id INTO id FROM points_account WHERE tenant_id = t AND member_id IS NULL
                AND wallet = p_wallet AND kind = p_kind AND funder = p_funder;
        ELSE
            SELECT account_id INTO id FROM points_account WHERE tenant_id = t AND member_id = p_member
                AND wallet = p_wallet AND kind = p_kind AND funder = p_funder;
        END IF;
        IF id IS NOT NULL THEN RETURN id; END IF;
        IF p_member IS NOT NULL AND NOT EXISTS (SELECT FROM member WHERE tenant_id = t AND member_id = p_member)
            THEN RETURN NULL; END IF;
        IF p_wallet = 'main' THEN
            INSERT INTO points_wallet (tenant_id, wallet) VALUES (t, 'main') ON CONFLICT DO NOTHING;
        ELSIF NOT EXISTS (SELECT FROM points_wallet WHERE tenant_id = t AND wallet = p_wallet) THEN
            RETURN NULL;
        END IF;
        INSERT INTO points_account (tenant_id, wallet, kind, member_id, funder)
        VALUES (t, p_wallet, p_kind, p_member, p_funder) ON CONFLICT DO NOTHING RETURNING account_id INTO id;
        IF id IS NOT NULL THEN RETURN id; END IF;
    END LOOP;
END $$;

-- Lock accounts, always in this order: two operations on the same two members must not wait for each other.
CREATE FUNCTION points_lock(VARIADIC p_accounts bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM points_account WHERE tenant_id = current_tenant() AND account_id = ANY(p_accounts)
    ORDER BY account_id FOR NO KEY UPDATE;
END $$;

-- The same for where a lot or a hold lies, which a merge may change until it is locked.
CREATE FUNCTION points_lock_lot(p_lot bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE own bigint; locked bigint;
BEGIN
    LOOP
        SELECT account_id INTO own FROM points_lot WHERE tenant_id = current_tenant() AND lot_id = p_lot;
        IF own = locked THEN RETURN own; END IF;
        PERFORM points_lock(own);
        locked := own;
    END LOOP;
END $$;

CREATE FUNCTION points_lock_hold(p_hold bigint) RETURNS points_hold LANGUAGE plpgsql AS $$
DECLARE h points_hold; locked bigint;
BEGIN
    LOOP
        SELECT * INTO h FROM points_hold WHERE tenant_id = current_tenant() AND hold_id = p_hold;
        IF h.hold_id IS NULL OR h.account_id = locked THEN RETURN h; END IF;
        PERFORM points_lock(h.account_id);
        locked := h.account_id;
    END LOOP;
END $$;

-- Take an operation down; null if the key was taken in the meantime. Closing a day waits for those under way.
CREATE FUNCTION points_begin(p_key text, p_kind text, p_asked jsonb, p_wanted bigint, p_amount bigint, p_at timestamptz,
                             p_actor text, p_receipt text DEFAULT NULL, p_rule text DEFAULT NULL,
                             p_reason text DEFAULT '', p_reverses bigint DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); id bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4716, hashtext(t));
    INSERT INTO points_operation (tenant_id, key, kind, asked, wanted, amount, reverses, at, receipt, rule, reason, actor)
    VALUES (t, p_key, p_kind, p_asked, p_wanted, p_amount, p_reverses, p_at, p_receipt, p_rule, p_reason, p_actor)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING operation_id INTO id;
    RETURN id;
END $$;

CREATE FUNCTION points_move(p_operation bigint, p_debit bigint, p_credit bigint, p_amount bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); id bigint;
BEGIN
    INSERT INTO points_transfer (tenant_id, operation_id, debit, credit, amount)
    VALUES (t, p_operation, p_debit, p_credit, p_amount) RETURNING transfer_id INTO id;
    UPDATE points_account SET debits = debits + CASE account_id WHEN p_debit THEN p_amount ELSE 0 END,
                              credits = credits + CASE account_id WHEN p_credit THEN p_amount ELSE 0 END
    WHERE tenant_id = t AND account_id IN (p_debit, p_credit) AND member_id IS NOT NULL;
    RETURN id;
END $$;

-- What may be spent at an instant: neither held nor past its expiry, swept or not.
CREATE FUNCTION points_free(p_account bigint, p_at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE free bigint;
BEGIN
    SELECT coalesce(sum(remaining - held), 0) INTO free FROM points_lot
    WHERE tenant_id = current_tenant() AND account_id = p_account AND open AND NOT pending
      AND (expires_at IS NULL OR expires_at > p_at);
    RETURN free;
END $$;

-- The lots that pay an amount: earliest expiry first, never-expiring ones last, of equals the oldest.
CREATE FUNCTION points_pick(p_account bigint, p_amount bigint, p_at timestamptz)
RETURNS TABLE (lot_id bigint, part bigint) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT f.lot_id, least(f.free, p_amount - (f.upto - f.free))
    FROM (SELECT l.lot_id, l.remaining - l.held AS free,
                 (sum(l.remaining - l.held) OVER (ORDER BY l.expires_at NULLS LAST, l.lot_id))::bigint AS upto
          FROM points_lot l WHERE l.tenant_id = current_tenant() AND l.account_id = p_account AND l.open
            AND NOT l.pending AND l.remaining > l.held AND (l.expires_at IS NULL OR l.expires_at > p_at)) f
    WHERE f.upto - f.free < p_amount;
END $$;

-- Lot by lot: a plan for all of them together is made while there are few rows, and then reads the whole table.
CREATE FUNCTION points_take(p_transfer bigint, p_account bigint, p_amount bigint, p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); x record;
BEGIN
    FOR x IN SELECT lot_id, part FROM points_pick(p_account, p_amount, p_at) LOOP
        UPDATE points_lot SET remaining = remaining - x.part WHERE tenant_id = t AND lot_id = x.lot_id;
        INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount) VALUES (t, p_transfer, x.lot_id, -x.part);
    END LOOP;
END $$;

-- Points that have come free pay what is owed, oldest first.
CREATE FUNCTION points_settle(p_account bigint, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); d record; part bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM points_account WHERE tenant_id = t AND account_id = p_account AND owed > 0) THEN
        RETURN;
    END IF;
    FOR d IN SELECT transfer_id, remaining FROM points_debt
             WHERE tenant_id = t AND account_id = p_account AND remaining > 0 ORDER BY transfer_id LOOP
        part := least(d.remaining, points_free(p_account, p_at));
        EXIT WHEN part = 0;
        PERFORM points_take(d.transfer_id, p_account, part, p_at);
        UPDATE points_debt SET remaining = remaining - part WHERE tenant_id = t AND transfer_id = d.transfer_id;
        UPDATE points_account SET owed = owed - part WHERE tenant_id = t AND account_id = p_account;
    END LOOP;
END $$;

CREATE FUNCTION points_lot_new(p_transfer bigint, p_operation bigint, p_account bigint, p_amount bigint, p_funder text,
                               p_issued timestamptz, p_expires timestamptz, p_parent bigint DEFAULT NULL,
                               p_pending boolean DEFAULT false, p_active timestamptz DEFAULT NULL,
                               p_valid_days integer DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); id bigint;
BEGIN
    INSERT INTO points_lot (tenant_id, account_id, operation_id, parent, funder, amount, remaining, pending, issued_at,
                            active_at, valid_days, expires_at)
    VALUES (t, p_account, p_operation, p_parent, p_funder, p_amount, p_amount, p_pending, p_issued, p_active,
            p_valid_days, p_expires) RETURNING lot_id INTO id;
    INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount) VALUES (t, p_transfer, id, p_amount);
    RETURN id;
END $$;

-- A pending lot becomes spendable; its validity in days counts from then.
CREATE FUNCTION points_turn_active(p_lot bigint, p_at timestamptz, p_actor text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); l points_lot; a points_account; op bigint;
BEGIN
    SELECT * INTO l FROM points_lot WHERE tenant_id = t AND lot_id = p_lot AND pending;
    IF l.lot_id IS NULL THEN RETURN; END IF;
    UPDATE points_lot SET pending = false, active_at = p_at,
        expires_at = coalesce(expires_at, p_at + valid_days * interval '24 hours') WHERE tenant_id = t AND lot_id = p_lot;
    IF l.remaining = 0 THEN RETURN; END IF;
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = l.account_id;
    op := points_begin('activate:' || p_lot, 'activate', jsonb_build_object('lot', p_lot), l.remaining, l.remaining, p_at,
                       p_actor);
    PERFORM points_move(op, points_open(a.member_id, a.wallet, 'pending'), l.account_id, l.remaining);
END $$;

CREATE FUNCTION points_release(p_hold bigint, p_state text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant();
BEGIN
    UPDATE points_lot l SET held = l.held - h.amount FROM points_hold_lot h
    WHERE h.tenant_id = t AND h.hold_id = p_hold AND l.tenant_id = t AND l.lot_id = h.lot_id;
    UPDATE points_account a SET held = a.held - h.amount FROM points_hold h
    WHERE h.tenant_id = t AND h.hold_id = p_hold AND a.tenant_id = t AND a.account_id = h.account_id;
    UPDATE points_hold SET state = p_state WHERE tenant_id = t AND hold_id = p_hold;
END $$;

-- What an instant brings by itself to one member: holds time out, pending points turn active, lots expire. Each is
-- written as of the instant it was due, so that it does not matter when anybody looked.
CREATE FUNCTION points_due(p_account bigint, p_at timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); x record; a points_account; op bigint; n integer := 0;
BEGIN
    FOR x IN SELECT hold_id FROM points_hold WHERE tenant_id = t AND account_id = p_account AND state = 'held'
             AND until <= p_at ORDER BY hold_id LOOP
        PERFORM points_release(x.hold_id, 'timed_out');
        n := n + 1;
    END LOOP;
    FOR x IN SELECT lot_id, active_at FROM points_lot WHERE tenant_id = t AND account_id = p_account AND open AND pending
             AND active_at <= p_at ORDER BY active_at, lot_id LOOP
        PERFORM points_turn_active(x.lot_id, x.active_at, 'clock');
        n := n + 1;
    END LOOP;
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = p_account;
    FOR x IN SELECT lot_id, remaining - held AS free, expires_at,
                    (SELECT count(*) FROM points_use u WHERE u.tenant_id = t AND u.lot_id = l.lot_id) AS changes
             FROM points_lot l
             WHERE tenant_id = t AND account_id = p_account AND open AND NOT pending AND expires_at <= p_at
               AND remaining > held ORDER BY expires_at, lot_id LOOP
        -- What is held of a lot expires later, if the hold is voided: the key counts how often the lot has changed.
        op := points_begin(format('expire:%s:%s', x.lot_id, x.changes), 'expire', jsonb_build_object('lot', x.lot_id),
                           x.free, x.free, x.expires_at, 'clock');
        UPDATE points_lot SET remaining = remaining - x.free WHERE tenant_id = t AND lot_id = x.lot_id;
        INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount)
        VALUES (t, points_move(op, p_account, points_open(NULL, a.wallet, 'breakage'), x.free), x.lot_id, -x.free);
        n := n + 1;
    END LOOP;
    PERFORM points_settle(p_account, p_at);
    RETURN n;
END $$;

CREATE FUNCTION points_is_due(p_account bigint, p_at timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM points_lot WHERE tenant_id = current_tenant() AND account_id = p_account AND open
                   AND CASE WHEN pending THEN active_at <= p_at ELSE expires_at <= p_at AND remaining > held END)
        OR EXISTS (SELECT FROM points_hold WHERE tenant_id = current_tenant() AND account_id = p_account
                   AND state = 'held' AND until <= p_at);
END $$;

-- The operations. Each answers with an outcome, the operation's number, what was moved, and what may be spent after a
-- refusal. Outcomes: 'done', 'again' (the key's answer from before), and refusals, which write nothing:
-- 'reused' (the key stood for something else), 'short' (not enough points), 'unknown' (no such member, wallet, operation
-- or hold), 'beyond' (more than is left to undo), 'closed' (resolved otherwise), 'same' (a second person is needed).

CREATE FUNCTION points_earn(p_member uuid, p_wallet text, p_amount bigint, p_key text, p_at timestamptz,
                            p_pending boolean, p_active timestamptz, p_expires timestamptz, p_valid_days integer,
                            p_funder text, p_receipt text, p_rule text, p_reason text, p_actor text,
                            OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE asks jsonb; own bigint; funds text; moves bigint;
BEGIN
    own := points_open(p_member, p_wallet, 'active');
    IF own IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    asks := jsonb_build_object('earn', own, 'amount', p_amount, 'pending', p_pending, 'active', p_active,
                               'expires', p_expires, 'days', p_valid_days, 'funder', p_funder, 'receipt', p_receipt,
                               'rule', p_rule);
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    SELECT coalesce(nullif(w.funder, ''), p_funder, '') INTO funds FROM points_wallet w
    WHERE tenant_id = current_tenant() AND wallet = p_wallet;
    operation := points_begin(p_key, 'earn', asks, p_amount, p_amount, p_at, p_actor, p_receipt, p_rule, p_reason);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    PERFORM points_lock(own);
    moves := points_move(operation, points_open(NULL, p_wallet, 'issuance', funds),
                         CASE WHEN p_pending THEN points_open(p_member, p_wallet, 'pending') ELSE own END, p_amount);
    PERFORM points_lot_new(moves, operation, own, p_amount, funds, p_at,
                           CASE WHEN p_pending THEN p_expires
                                ELSE coalesce(p_expires, p_at + p_valid_days * interval '24 hours') END,
                           NULL, p_pending, CASE WHEN p_pending THEN p_active ELSE p_at END, p_valid_days);
    PERFORM points_settle(own, p_at);
    outcome := 'done'; moved := p_amount;
END $$;

-- The action on which pending points of an earn waited has happened.
CREATE FUNCTION points_activate(p_earn text, p_at timestamptz, p_actor text,
                                OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); l points_lot;
BEGIN
    SELECT l_.* INTO l FROM points_operation o JOIN points_lot l_ USING (tenant_id, operation_id)
    WHERE o.tenant_id = t AND o.key = p_earn AND o.kind = 'earn';
    IF l.lot_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    l.account_id := points_lock_lot(l.lot_id);
    PERFORM points_turn_active(l.lot_id, p_at, p_actor) FROM points_lot
    WHERE tenant_id = t AND lot_id = l.lot_id AND pending;
    outcome := CASE WHEN FOUND THEN 'done' ELSE 'again' END;
    SELECT o.operation_id, o.amount INTO operation, moved FROM points_operation o
    WHERE o.tenant_id = t AND o.key = 'activate:' || l.lot_id;
    moved := coalesce(moved, 0);
    PERFORM points_settle(l.account_id, p_at);
END $$;

CREATE FUNCTION points_spend(p_member uuid, p_wallet text, p_amount bigint, p_key text, p_at timestamptz, p_receipt text,
                             p_reason text, p_actor text,
                             OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); a points_account; asks jsonb; moves bigint;
BEGIN
    SELECT * INTO a FROM points_account
    WHERE tenant_id = t AND member_id = p_member AND wallet = p_wallet AND kind = 'active' AND funder = '';
    asks := jsonb_build_object('spend', a.account_id, 'amount', p_amount, 'receipt', p_receipt);
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    -- Without a lock: whoever asks for more than there is in all need not wait for those who may get something.
    available := coalesce(a.credits - a.debits, 0);
    IF available < p_amount AND available + coalesce((SELECT credits - debits FROM points_account
            WHERE tenant_id = t AND member_id = p_member AND wallet = p_wallet AND kind = 'pending' AND funder = ''), 0)
            < p_amount THEN
        outcome := 'short'; available := greatest(available - coalesce(a.held, 0), 0);
        RETURN;
    END IF;
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = a.account_id FOR NO KEY UPDATE;
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN available := NULL; RETURN; END IF;
    IF points_is_due(a.account_id, p_at) THEN PERFORM points_due(a.account_id, p_at); END IF;
    available := points_free(a.account_id, p_at);
    IF available < p_amount THEN outcome := 'short'; RETURN; END IF;
    operation := points_begin(p_key, 'spend', asks, p_amount, p_amount, p_at, p_actor, p_receipt, NULL, p_reason);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    moves := points_move(operation, a.account_id, points_open(NULL, p_wallet, 'redemption'), p_amount);
    PERFORM points_take(moves, a.account_id, p_amount, p_at);
    outcome := 'done'; moved := p_amount; available := available - p_amount;
END $$;

CREATE FUNCTION points_hold_for(p_member uuid, p_wallet text, p_amount bigint, p_key text, p_at timestamptz,
                                p_until timestamptz, p_receipt text, p_actor text,
                                OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); own bigint; asks jsonb;
BEGIN
    own := points_active(p_member, p_wallet);
    asks := jsonb_build_object('hold', own, 'amount', p_amount, 'receipt', p_receipt);
    PERFORM points_lock(own);
    SELECT CASE WHEN asked = asks THEN 'again' ELSE 'reused' END, hold_id, amount INTO outcome, operation, moved
    FROM points_hold WHERE tenant_id = t AND key = p_key;
    IF outcome IS NOT NULL THEN RETURN; END IF;
    PERFORM points_due(own, p_at);
    available := points_free(own, p_at);
    IF available < p_amount THEN outcome := 'short'; RETURN; END IF;
    INSERT INTO points_hold (tenant_id, account_id, key, asked, amount, made_at, until, receipt, actor)
    VALUES (t, own, p_key, asks, p_amount, p_at, p_until, p_receipt, p_actor)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING hold_id INTO operation;
    -- The same key for another member at the same moment: ours is not the first.
    IF operation IS NULL THEN outcome := 'reused'; RETURN; END IF;
    INSERT INTO points_hold_lot (tenant_id, hold_id, lot_id, amount)
    SELECT t, operation, lot_id, part FROM points_pick(own, p_amount, p_at);
    UPDATE points_lot l SET held = l.held + h.amount FROM points_hold_lot h
    WHERE h.tenant_id = t AND h.hold_id = operation AND l.tenant_id = t AND l.lot_id = h.lot_id;
    UPDATE points_account SET held = held + p_amount WHERE tenant_id = t AND account_id = own;
    outcome := 'done'; moved := p_amount; available := available - p_amount;
END $$;

-- The second phase: the held lots are spent, also one whose expiry has come meanwhile.
CREATE FUNCTION points_commit(p_hold bigint, p_at timestamptz, p_receipt text, p_actor text,
                              OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); h points_hold; a points_account; moves bigint;
BEGIN
    h := points_lock_hold(p_hold);
    IF h.hold_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    IF h.state = 'committed' THEN
        SELECT 'again', o.operation_id, o.amount INTO outcome, operation, moved FROM points_operation o
        WHERE o.tenant_id = t AND o.key = 'commit:' || p_hold;
        RETURN;
    ELSIF h.state <> 'held' OR h.until <= p_at THEN
        outcome := 'closed';
        RETURN;
    END IF;
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = h.account_id;
    operation := points_begin('commit:' || p_hold, 'spend', jsonb_build_object('commit', p_hold), h.amount, h.amount,
                              p_at, p_actor, coalesce(p_receipt, h.receipt));
    PERFORM points_release(p_hold, 'committed');
    moves := points_move(operation, a.account_id, points_open(NULL, a.wallet, 'redemption'), h.amount);
    UPDATE points_lot l SET remaining = l.remaining - x.amount FROM points_hold_lot x
    WHERE x.tenant_id = t AND x.hold_id = p_hold AND l.tenant_id = t AND l.lot_id = x.lot_id;
    INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount)
    SELECT t, moves, lot_id, -amount FROM points_hold_lot WHERE tenant_id = t AND hold_id = p_hold;
    outcome := 'done'; moved := h.amount;
END $$;

CREATE FUNCTION points_void(p_hold bigint, p_at timestamptz,
                            OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); h points_hold;
BEGIN
    h := points_lock_hold(p_hold);
    IF h.hold_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    operation := p_hold; moved := h.amount;
    IF h.state = 'committed' THEN outcome := 'closed'; RETURN; END IF;
    IF h.state <> 'held' THEN outcome := 'again'; RETURN; END IF;
    PERFORM points_release(p_hold, 'voided');
    PERFORM points_due(h.account_id, p_at);
    outcome := 'done';
END $$;

-- What an earn awarded is taken back for goods that were returned: what is left of that lot first, then as the policy says.
CREATE FUNCTION points_reverse_earn(p_earn text, p_amount bigint, p_key text, p_at timestamptz, p_policy text,
                                    p_receipt text, p_actor text,
                                    OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    t text := current_tenant(); o points_operation; l points_lot; a points_account; asks jsonb; policy text;
    issuance bigint; moves bigint; own bigint; others bigint := 0; debt bigint := 0; burnt bigint; undone bigint;
BEGIN
    SELECT * INTO o FROM points_operation WHERE tenant_id = t AND key = p_earn AND kind = 'earn';
    IF o.operation_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    policy := coalesce(p_policy, (points_policy_now()).returns);
    asks := jsonb_build_object('reverse', o.operation_id, 'amount', p_amount, 'policy', p_policy);
    SELECT lot.* INTO l FROM points_lot lot WHERE lot.tenant_id = t AND lot.operation_id = o.operation_id;
    l.account_id := points_lock_lot(l.lot_id);
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    PERFORM points_due(l.account_id, p_at);
    SELECT * INTO l FROM points_lot WHERE tenant_id = t AND lot_id = l.lot_id;
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = l.account_id;
    SELECT coalesce(sum(wanted), 0), coalesce(sum(wanted - amount), 0) INTO undone, burnt
    FROM points_operation WHERE tenant_id = t AND reverses = o.operation_id;
    IF p_amount > o.amount - undone THEN
        outcome := 'beyond'; available := o.amount - undone;
        RETURN;
    END IF;
    own := least(p_amount, l.remaining - l.held);
    IF policy = 'only_pending' AND NOT l.pending THEN own := 0; END IF;
    IF policy <> 'only_pending' AND NOT l.pending THEN
        -- What of this award has expired unspent is gone already: it is not taken a second time from other points.
        burnt := greatest(-burnt - coalesce((
            SELECT sum(u.amount) FROM points_use u JOIN points_transfer m USING (tenant_id, transfer_id)
                JOIN points_operation e USING (tenant_id, operation_id)
            WHERE u.tenant_id = t AND u.lot_id = l.lot_id AND e.kind = 'expire'), 0), 0);
        others := greatest(p_amount - own - burnt, 0);
        debt := others - least(others, points_free(l.account_id, p_at) - CASE
            WHEN l.expires_at IS NULL OR l.expires_at > p_at THEN own ELSE 0 END);
        others := others - debt;
        IF policy = 'within_balance' THEN debt := 0; END IF;
    END IF;
    operation := points_begin(p_key, 'reverse_earn', asks, p_amount, own + others + debt, p_at, p_actor, p_receipt, o.rule,
                              policy, o.operation_id);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    outcome := 'done'; moved := own + others + debt;
    IF moved = 0 THEN RETURN; END IF;
    issuance := points_open(NULL, a.wallet, 'issuance', l.funder);
    IF own + others > 0 THEN
        moves := points_move(operation, CASE WHEN l.pending THEN points_open(a.member_id, a.wallet, 'pending')
                                        ELSE l.account_id END, issuance, own + others);
    END IF;
    IF own > 0 THEN
        UPDATE points_lot SET remaining = remaining - own WHERE tenant_id = t AND lot_id = l.lot_id;
        INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount) VALUES (t, moves, l.lot_id, -own);
    END IF;
    IF others > 0 THEN PERFORM points_take(moves, l.account_id, others, p_at); END IF;
    IF debt > 0 THEN
        UPDATE points_account SET owed = owed + debt WHERE tenant_id = t AND account_id = l.account_id;
        moves := points_move(operation, l.account_id, issuance, debt);
        INSERT INTO points_debt VALUES (t, moves, l.account_id, debt, debt);
    END IF;
END $$;

-- Points that paid for returned goods come back: into the lots they came from with the expiry these had, the last used
-- first, as if less had been spent; a lot that has expired since is replaced by one with the policy's days of grace.
CREATE FUNCTION points_reverse_spend(p_spend text, p_amount bigint, p_key text, p_at timestamptz, p_receipt text,
                                     p_actor text,
                                     OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    t text := current_tenant(); o points_operation; asks jsonb; accounts bigint[]; again bigint[]; x record; undone bigint;
    left_ bigint := p_amount; part bigint; moves bigint; own bigint; redemption bigint;
BEGIN
    SELECT * INTO o FROM points_operation WHERE tenant_id = t AND key = p_spend AND kind = 'spend';
    IF o.operation_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    asks := jsonb_build_object('reverse', o.operation_id, 'amount', p_amount);
    LOOP -- lots move when members are merged: lock where they lie, and look whether they still lie there
        SELECT array_agg(DISTINCT l.account_id) INTO accounts FROM points_transfer m
            JOIN points_use u USING (tenant_id, transfer_id) JOIN points_lot l USING (tenant_id, lot_id)
        WHERE m.tenant_id = t AND m.operation_id = o.operation_id;
        EXIT WHEN accounts = again;
        PERFORM points_lock(VARIADIC accounts);
        again := accounts;
    END LOOP;
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    SELECT coalesce(sum(wanted), 0) INTO undone FROM points_operation WHERE tenant_id = t AND reverses = o.operation_id;
    IF p_amount > o.amount - undone THEN
        outcome := 'beyond'; available := o.amount - undone;
        RETURN;
    END IF;
    operation := points_begin(p_key, 'reverse_spend', asks, p_amount, p_amount, p_at, p_actor, p_receipt, NULL, '',
                              o.operation_id);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    FOREACH own IN ARRAY accounts LOOP PERFORM points_due(own, p_at); END LOOP;
    FOR x IN
        SELECT l.lot_id, l.account_id, l.funder, l.issued_at, l.expires_at, m.credit AS redemption,
               -sum(u.amount) - coalesce((
                   SELECT sum(b.amount) FROM points_use b JOIN points_lot bl USING (tenant_id, lot_id)
                       JOIN points_transfer bm USING (tenant_id, transfer_id)
                       JOIN points_operation bo ON bo.tenant_id = t AND bo.operation_id = bm.operation_id
                   WHERE b.tenant_id = t AND bo.reverses = o.operation_id AND l.lot_id IN (bl.lot_id, bl.parent)), 0) AS out
        FROM points_transfer m JOIN points_use u USING (tenant_id, transfer_id) JOIN points_lot l USING (tenant_id, lot_id)
        WHERE m.tenant_id = t AND m.operation_id = o.operation_id
        GROUP BY l.lot_id, l.account_id, l.funder, l.issued_at, l.expires_at, m.credit
        ORDER BY l.expires_at DESC NULLS FIRST, l.lot_id DESC
    LOOP
        part := least(left_, x.out);
        CONTINUE WHEN part <= 0;
        moves := points_move(operation, x.redemption, x.account_id, part);
        IF x.expires_at <= p_at THEN
            PERFORM points_lot_new(moves, operation, x.account_id, part, x.funder, x.issued_at,
                p_at + (points_policy_now()).grace_days * interval '24 hours', x.lot_id, false, p_at);
        ELSE
            UPDATE points_lot SET remaining = remaining + part WHERE tenant_id = t AND lot_id = x.lot_id;
            INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount) VALUES (t, moves, x.lot_id, part);
        END IF;
        left_ := left_ - part;
    END LOOP;
    FOREACH own IN ARRAY accounts LOOP PERFORM points_settle(own, p_at); END LOOP;
    outcome := 'done'; moved := p_amount;
END $$;

-- Post an adjustment that is decided. Returns null when a debit finds not enough.
CREATE FUNCTION points_post_adjustment(p_adjustment bigint, p_at timestamptz, p_actor text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE t text := current_tenant(); j points_adjustment; a points_account; op bigint; moves bigint; other bigint;
BEGIN
    SELECT * INTO j FROM points_adjustment WHERE tenant_id = t AND adjustment_id = p_adjustment;
    PERFORM points_lock(j.account_id);
    PERFORM points_due(j.account_id, p_at);
    IF j.amount < 0 AND points_free(j.account_id, p_at) < -j.amount THEN RETURN NULL; END IF;
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = j.account_id;
    other := points_open(NULL, a.wallet, 'adjustment');
    op := points_begin('adjustment:' || p_adjustment, 'adjust', j.asked, abs(j.amount), abs(j.amount), p_at, p_actor,
                       p_reason => j.reason);
    IF j.amount > 0 THEN
        moves := points_move(op, other, j.account_id, j.amount);
        PERFORM points_lot_new(moves, op, j.account_id, j.amount, '', p_at, j.expires_at, NULL, false, p_at);
        PERFORM points_settle(j.account_id, p_at);
    ELSE
        moves := points_move(op, j.account_id, other, -j.amount);
        PERFORM points_take(moves, j.account_id, -j.amount, p_at);
    END IF;
    UPDATE points_adjustment SET state = 'posted', decided_by = p_actor, decided_at = p_at
    WHERE tenant_id = t AND adjustment_id = p_adjustment;
    RETURN op;
END $$;

-- `operation` is the adjustment's number; 'waiting' when a second person must decide.
CREATE FUNCTION points_adjust(p_member uuid, p_wallet text, p_amount bigint, p_key text, p_at timestamptz, p_reason text,
                              p_note text, p_expires timestamptz, p_actor text,
                              OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); own bigint; asks jsonb; was text;
BEGIN
    own := points_open(p_member, p_wallet, 'active');
    IF own IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    asks := jsonb_build_object('adjust', own, 'amount', p_amount, 'reason', p_reason, 'expires', p_expires);
    PERFORM points_lock(own);
    SELECT CASE WHEN asked <> asks THEN 'reused' WHEN state = 'waiting' THEN 'waiting' ELSE 'again' END, adjustment_id,
           CASE state WHEN 'posted' THEN abs(amount) ELSE 0 END INTO was, operation, moved
    FROM points_adjustment WHERE tenant_id = t AND key = p_key;
    IF was IS NOT NULL THEN outcome := was; RETURN; END IF;
    IF p_amount < 0 THEN
        PERFORM points_due(own, p_at);
        available := points_free(own, p_at);
        IF available < -p_amount THEN outcome := 'short'; RETURN; END IF;
    END IF;
    INSERT INTO points_adjustment (tenant_id, account_id, key, asked, amount, reason, note, asked_by, asked_at, expires_at)
    VALUES (t, own, p_key, asks, p_amount, p_reason, p_note, p_actor, p_at, p_expires)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING adjustment_id INTO operation;
    IF operation IS NULL THEN outcome := 'reused'; RETURN; END IF;
    IF abs(p_amount) > (points_policy_now()).approve_above THEN
        outcome := 'waiting'; moved := 0;
    ELSE
        PERFORM points_post_adjustment(operation, p_at, p_actor);
        outcome := 'done'; moved := abs(p_amount);
    END IF;
END $$;

CREATE FUNCTION points_decide(p_adjustment bigint, p_approve boolean, p_at timestamptz, p_actor text,
                              OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); j points_adjustment;
BEGIN
    SELECT * INTO j FROM points_adjustment WHERE tenant_id = t AND adjustment_id = p_adjustment;
    IF j.adjustment_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    PERFORM points_lock(j.account_id);
    SELECT * INTO j FROM points_adjustment WHERE tenant_id = t AND adjustment_id = p_adjustment FOR NO KEY UPDATE;
    operation := p_adjustment; moved := 0;
    IF j.state <> 'waiting' THEN
        outcome := CASE WHEN (j.state = 'posted') = p_approve THEN 'again' ELSE 'closed' END;
        moved := CASE j.state WHEN 'posted' THEN abs(j.amount) ELSE 0 END;
    ELSIF p_actor = j.asked_by AND p_approve THEN
        outcome := 'same';
    ELSIF NOT p_approve THEN
        UPDATE points_adjustment SET state = 'rejected', decided_by = p_actor, decided_at = p_at
        WHERE tenant_id = t AND adjustment_id = p_adjustment;
        outcome := 'done';
    ELSIF points_post_adjustment(p_adjustment, p_at, p_actor) IS NULL THEN
        outcome := 'short'; available := points_free(j.account_id, p_at);
    ELSE
        outcome := 'done'; moved := abs(j.amount);
    END IF;
END $$;

-- One member gives another points: earliest expiry first, and they keep it.
CREATE FUNCTION points_give(p_from uuid, p_into uuid, p_wallet text, p_amount bigint, p_key text, p_at timestamptz,
                            p_reason text, p_actor text,
                            OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); a bigint; b bigint; asks jsonb; moves bigint; x record;
BEGIN
    a := points_open(p_from, p_wallet, 'active');
    b := points_open(p_into, p_wallet, 'active');
    IF a IS NULL OR b IS NULL OR a = b THEN outcome := 'unknown'; RETURN; END IF;
    asks := jsonb_build_object('give', a, 'into', b, 'amount', p_amount);
    PERFORM points_lock(a, b);
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    PERFORM points_due(a, p_at);
    available := points_free(a, p_at);
    IF available < p_amount THEN outcome := 'short'; RETURN; END IF;
    operation := points_begin(p_key, 'give', asks, p_amount, p_amount, p_at, p_actor, p_reason => p_reason);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    moves := points_move(operation, a, b, p_amount);
    FOR x IN SELECT p.part, l.* FROM points_pick(a, p_amount, p_at) p JOIN points_lot l USING (lot_id)
             WHERE l.tenant_id = t ORDER BY l.expires_at NULLS LAST, l.lot_id LOOP
        UPDATE points_lot SET remaining = remaining - x.part WHERE tenant_id = t AND lot_id = x.lot_id;
        INSERT INTO points_use (tenant_id, transfer_id, lot_id, amount) VALUES (t, moves, x.lot_id, -x.part);
        PERFORM points_lot_new(moves, operation, b, x.part, x.funder, x.issued_at, x.expires_at, x.lot_id, false, p_at);
    END LOOP;
    PERFORM points_settle(b, p_at);
    outcome := 'done'; moved := p_amount; available := available - p_amount;
END $$;

-- Lots and debts, wherever they lie now, go to another account, and the balances with them.
CREATE FUNCTION points_carry(p_operation bigint, p_from bigint, p_into bigint, p_lots bigint[], p_debts bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t text := current_tenant(); a points_account; b points_account; act bigint; pend bigint; hold_ bigint; debt bigint;
BEGIN
    SELECT * INTO a FROM points_account WHERE tenant_id = t AND account_id = p_from;
    SELECT * INTO b FROM points_account WHERE tenant_id = t AND account_id = p_into;
    SELECT coalesce(sum(remaining) FILTER (WHERE NOT pending), 0), coalesce(sum(remaining) FILTER (WHERE pending), 0),
           coalesce(sum(held), 0) INTO act, pend, hold_
    FROM points_lot WHERE tenant_id = t AND lot_id = ANY(p_lots) AND account_id = p_from;
    SELECT coalesce(sum(remaining), 0) INTO debt FROM points_debt
    WHERE tenant_id = t AND transfer_id = ANY(p_debts) AND account_id = p_from;
    -- In this order no account is ever worth less than what is held of it.
    UPDATE points_account SET held = held - hold_ WHERE tenant_id = t AND account_id = p_from;
    UPDATE points_account SET owed = owed + debt WHERE tenant_id = t AND account_id = p_into;
    IF act > debt THEN PERFORM points_move(p_operation, p_from, p_into, act - debt);
    ELSIF act < debt THEN PERFORM points_move(p_operation, p_into, p_from, debt - act); END IF;
    UPDATE points_account SET owed = owed - debt WHERE tenant_id = t AND account_id = p_from;
    UPDATE points_account SET held = held + hold_ WHERE tenant_id = t AND account_id = p_into;
    IF pend > 0 THEN
        PERFORM points_move(p_operation, points_open(a.member_id, a.wallet, 'pending'),
                            points_open(b.member_id, b.wallet, 'pending'), pend);
    END IF;
    UPDATE points_hold SET account_id = p_into WHERE tenant_id = t AND account_id = p_from
        AND EXISTS (SELECT FROM points_hold_lot h WHERE h.tenant_id = t AND h.hold_id = points_hold.hold_id
                    AND h.lot_id = ANY(p_lots));
    UPDATE points_lot SET account_id = p_into WHERE tenant_id = t AND lot_id = ANY(p_lots) AND account_id = p_from;
    UPDATE points_debt SET account_id = p_into WHERE tenant_id = t AND transfer_id = ANY(p_debts) AND account_id = p_from;
END $$;

-- All that one member has becomes another's, in every wallet; spends made before come back to the survivor.
CREATE FUNCTION points_merge_into(p_from uuid, p_into uuid, p_key text, p_at timestamptz, p_actor text,
                                  OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); asks jsonb; w record; lots_ bigint[]; debts_ bigint[]; total bigint;
BEGIN
    asks := jsonb_build_object('merge', points_open(p_from, 'main', 'active'),
                               'into', points_open(p_into, 'main', 'active'));
    IF asks->>'merge' IS NULL OR asks->>'into' IS NULL OR p_from = p_into THEN outcome := 'unknown'; RETURN; END IF;
    PERFORM points_open(p_into, wallet, 'active') FROM points_account
    WHERE tenant_id = t AND member_id = p_from AND kind = 'active' ORDER BY account_id;
    PERFORM FROM points_account WHERE tenant_id = t AND member_id IN (p_from, p_into) AND kind = 'active'
    ORDER BY account_id FOR NO KEY UPDATE;
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    PERFORM points_due(account_id, p_at) FROM points_account
    WHERE tenant_id = t AND member_id IN (p_from, p_into) AND kind = 'active';
    SELECT coalesce(sum(l.remaining), 0) INTO total FROM points_lot l JOIN points_account a USING (tenant_id, account_id)
    WHERE a.tenant_id = t AND a.member_id = p_from;
    operation := points_begin(p_key, 'merge', asks, total, total, p_at, p_actor);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    FOR w IN SELECT a.wallet, a.account_id AS a, b.account_id AS b FROM points_account a JOIN points_account b
             ON b.tenant_id = t AND b.member_id = p_into AND b.wallet = a.wallet AND b.kind = 'active'
             WHERE a.tenant_id = t AND a.member_id = p_from AND a.kind = 'active' LOOP
        SELECT coalesce(array_agg(lot_id), '{}') INTO lots_ FROM points_lot WHERE tenant_id = t AND account_id = w.a;
        SELECT coalesce(array_agg(transfer_id), '{}') INTO debts_ FROM points_debt
        WHERE tenant_id = t AND account_id = w.a AND remaining > 0;
        PERFORM points_carry(operation, w.a, w.b, lots_, debts_);
        INSERT INTO points_merge VALUES (t, operation, w.wallet, w.a, w.b, lots_, debts_);
        PERFORM points_settle(w.b, p_at);
    END LOOP;
    outcome := 'done'; moved := total;
END $$;

-- A merge is undone: what is left of the lots that it moved goes back. Open holds must be resolved before ('closed').
CREATE FUNCTION points_unmerge(p_merge text, p_key text, p_at timestamptz, p_actor text,
                               OUT outcome text, OUT operation bigint, OUT moved bigint, OUT available bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); o points_operation; asks jsonb; w points_merge; lots_ bigint[]; total bigint := 0;
BEGIN
    SELECT * INTO o FROM points_operation WHERE tenant_id = t AND key = p_merge AND kind = 'merge';
    IF o.operation_id IS NULL THEN outcome := 'unknown'; RETURN; END IF;
    asks := jsonb_build_object('unmerge', o.operation_id);
    PERFORM FROM points_account WHERE tenant_id = t AND account_id IN (
        SELECT unnest(ARRAY[from_account, into_account]) FROM points_merge
        WHERE tenant_id = t AND operation_id = o.operation_id) ORDER BY account_id FOR NO KEY UPDATE;
    SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
    IF outcome IS NOT NULL THEN RETURN; END IF;
    IF EXISTS (SELECT FROM points_operation WHERE tenant_id = t AND reverses = o.operation_id) THEN
        outcome := 'beyond'; available := 0;
        RETURN;
    END IF;
    PERFORM points_due(x, p_at) FROM points_merge m, unnest(ARRAY[m.from_account, m.into_account]) x
    WHERE m.tenant_id = t AND m.operation_id = o.operation_id;
    IF EXISTS (SELECT FROM points_merge m JOIN points_account a ON a.tenant_id = t
               AND a.account_id IN (m.from_account, m.into_account)
               WHERE m.tenant_id = t AND m.operation_id = o.operation_id AND a.held > 0) THEN
        outcome := 'closed';
        RETURN;
    END IF;
    SELECT coalesce(sum(l.remaining), 0) INTO total FROM points_merge m JOIN points_lot l ON l.tenant_id = t
        AND l.account_id = m.into_account AND (l.lot_id = ANY(m.lots) OR l.parent = ANY(m.lots))
    WHERE m.tenant_id = t AND m.operation_id = o.operation_id;
    operation := points_begin(p_key, 'unmerge', asks, total, total, p_at, p_actor, p_reverses => o.operation_id);
    IF operation IS NULL THEN
        SELECT * INTO outcome, operation, moved FROM points_known(p_key, asks);
        RETURN;
    END IF;
    FOR w IN SELECT * FROM points_merge WHERE tenant_id = t AND operation_id = o.operation_id LOOP
        -- With a lot goes what was given back in its place after it had expired.
        SELECT coalesce(array_agg(lot_id), '{}') INTO lots_ FROM points_lot
        WHERE tenant_id = t AND account_id = w.into_account AND (lot_id = ANY(w.lots) OR parent = ANY(w.lots));
        PERFORM points_carry(operation, w.into_account, w.from_account, lots_, w.debts);
        PERFORM points_settle(w.into_account, p_at);
        PERFORM points_settle(w.from_account, p_at);
    END LOOP;
    outcome := 'done'; moved := total;
END $$;

-- What has come due for one member; what they see afterwards is the ledger's own balance.
CREATE FUNCTION points_refresh(p_member uuid, p_at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); own bigint;
BEGIN
    FOR own IN SELECT account_id FROM points_account
               WHERE tenant_id = t AND member_id = p_member AND kind = 'active' ORDER BY account_id LOOP
        IF points_is_due(own, p_at) THEN
            PERFORM points_lock(own);
            PERFORM points_due(own, p_at);
        END IF;
    END LOOP;
END $$;

-- What has come due for anybody, some members at a time: how many lots and holds changed. Accounts that somebody works on
-- are left for the next time, so that sweeps and tills do not wait for each other.
CREATE FUNCTION points_sweep(p_at timestamptz, p_accounts integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); own bigint; n bigint := 0;
BEGIN
    FOR own IN
        SELECT account_id FROM points_account WHERE tenant_id = t AND account_id IN (
            SELECT account_id FROM points_lot WHERE tenant_id = t AND open AND pending AND active_at <= p_at
            UNION SELECT account_id FROM points_lot
                  WHERE tenant_id = t AND open AND NOT pending AND expires_at <= p_at AND remaining > held
            UNION SELECT account_id FROM points_hold WHERE tenant_id = t AND state = 'held' AND until <= p_at)
        ORDER BY account_id LIMIT p_accounts FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        n := n + points_due(own, p_at);
    END LOOP;
    RETURN n;
END $$;

-- The member is erased: the accounts stay under a random tombstone, with every amount, and nobody knows whose they were.
CREATE FUNCTION points_erase(p_member uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); tombstone uuid := gen_random_uuid();
BEGIN
    UPDATE points_adjustment SET note = '' WHERE tenant_id = t AND note <> '' AND account_id IN (
        SELECT account_id FROM points_account WHERE tenant_id = t AND member_id = p_member);
    UPDATE points_account SET member_id = tombstone WHERE tenant_id = t AND member_id = p_member;
END $$;

CREATE FUNCTION points_put_wallet(p_wallet text, p_name text, p_funder text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO points_wallet VALUES (current_tenant(), p_wallet, p_name, p_funder)
    ON CONFLICT (tenant_id, wallet) DO UPDATE SET name = excluded.name
$$;

CREATE FUNCTION points_put_policy(p_scale integer, p_tz text, p_returns text, p_grace_days integer, p_approve_above bigint,
                                  p_worth bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO points_policy
    VALUES (current_tenant(), p_scale, p_tz, p_returns, p_grace_days, p_approve_above, p_worth)
    ON CONFLICT (tenant_id) DO UPDATE SET (scale, tz, returns, grace_days, approve_above, worth) =
        (excluded.scale, excluded.tz, excluded.returns, excluded.grace_days, excluded.approve_above, excluded.worth)
$$;

-- The digest of the transfers after one number up to another, chained to the digest before.
CREATE FUNCTION points_digest(p_tenant text, p_before bytea, p_day date, p_after bigint, p_to bigint) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT sha256(p_before || convert_to(p_day::text || E'\n' || coalesce(string_agg(
        concat_ws('|', m.transfer_id, m.debit, m.credit, m.amount, o.operation_id, o.key, o.kind, o.asked, o.wanted,
                  o.amount, coalesce(o.reverses, 0), us(o.at), coalesce(o.receipt, ''), coalesce(o.rule, ''), o.reason,
                  o.actor), E'\n' ORDER BY m.transfer_id), ''), 'UTF8'))
    FROM points_transfer m JOIN points_operation o USING (tenant_id, operation_id)
    WHERE m.tenant_id = p_tenant AND m.transfer_id > p_after AND m.transfer_id <= p_to
$$;

-- Close a day: once, in the order of days. Waits for operations under way, so that none with a lower number comes later.
CREATE FUNCTION points_close_day(p_day date, p_at timestamptz) RETURNS SETOF points_statement
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE t text := current_tenant(); before points_statement; upto bigint; first bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(4716, hashtext(t));
    SELECT * INTO before FROM points_statement WHERE tenant_id = t ORDER BY day DESC LIMIT 1;
    IF before.day IS NULL OR before.day < p_day THEN
        first := coalesce(before.last_transfer, 0);
        SELECT coalesce(max(transfer_id), first) INTO upto FROM points_transfer WHERE tenant_id = t;
        INSERT INTO points_statement
        SELECT t, p_day, p_at, upto, count(m.transfer_id),
            coalesce(sum(m.amount) FILTER (WHERE d.kind = 'issuance') - coalesce(sum(m.amount)
                FILTER (WHERE c.kind = 'issuance'), 0), -coalesce(sum(m.amount) FILTER (WHERE c.kind = 'issuance'), 0)),
            coalesce(sum(m.amount) FILTER (WHERE c.kind = 'redemption'), 0)
                - coalesce(sum(m.amount) FILTER (WHERE d.kind = 'redemption'), 0),
            coalesce(sum(m.amount) FILTER (WHERE c.kind = 'breakage'), 0),
            coalesce(sum(m.amount) FILTER (WHERE d.kind = 'adjustment'), 0)
                - coalesce(sum(m.amount) FILTER (WHERE c.kind = 'adjustment'), 0),
            (SELECT coalesce(sum(credits - debits), 0) FROM points_account WHERE tenant_id = t AND member_id IS NOT NULL),
            points_digest(t, coalesce(before.digest, ''), p_day, first, upto)
        FROM points_transfer m
            JOIN points_account d ON d.tenant_id = t AND d.account_id = m.debit
            JOIN points_account c ON c.tenant_id = t AND c.account_id = m.credit
        WHERE m.tenant_id = t AND m.transfer_id > first AND m.transfer_id <= upto;
    END IF;
    RETURN QUERY SELECT * FROM points_statement WHERE tenant_id = t AND day = p_day;
END $$;

-- Whatever does not add up, of the tenants that the caller sees: nothing, if all is well. I1 … I10 are the invariants.
CREATE FUNCTION points_faults() RETURNS TABLE (invariant text, tenant text, detail text) LANGUAGE sql STABLE AS $$
    WITH used AS (
        SELECT tenant_id, transfer_id, sum(amount) AS amount FROM points_use GROUP BY 1, 2
    ), entry AS (
        SELECT tenant_id, account_id, sum(debit) AS debit, sum(credit) AS credit FROM (
            SELECT tenant_id, debit AS account_id, amount AS debit, 0 AS credit FROM points_transfer
            UNION ALL SELECT tenant_id, credit, 0, amount FROM points_transfer) e GROUP BY 1, 2
    ), lots AS (
        SELECT tenant_id, account_id, sum(remaining) FILTER (WHERE NOT pending) AS active,
               sum(remaining) FILTER (WHERE pending) AS pending, sum(held) AS held FROM points_lot GROUP BY 1, 2
    )
    SELECT 'I1', m.tenant_id, format('transfer %s: not between two accounts of one wallet', m.transfer_id)
    FROM points_transfer m
        LEFT JOIN points_account d ON d.tenant_id = m.tenant_id AND d.account_id = m.debit
        LEFT JOIN points_account c ON c.tenant_id = m.tenant_id AND c.account_id = m.credit
    WHERE d.wallet IS DISTINCT FROM c.wallet OR d.wallet IS NULL
    UNION ALL
    SELECT 'I1', o.tenant_id, format('operation %s: %s moved, its transfers say %s', o.operation_id, o.amount, s.amount)
    FROM points_operation o LEFT JOIN (SELECT tenant_id, operation_id, sum(amount) AS amount FROM points_transfer
                                       GROUP BY 1, 2) s USING (tenant_id, operation_id)
    WHERE o.amount <> coalesce(s.amount, 0) AND o.kind NOT IN ('merge', 'unmerge')
    UNION ALL
    SELECT 'I1', m.tenant_id, format('transfer %s: of no operation', m.transfer_id) FROM points_transfer m
    WHERE NOT EXISTS (SELECT FROM points_operation o WHERE (o.tenant_id, o.operation_id) = (m.tenant_id, m.operation_id))
    UNION ALL
    SELECT 'I1', a.tenant_id, format('account %s: of no wallet', a.account_id) FROM points_account a
    WHERE NOT EXISTS (SELECT FROM points_wallet w WHERE (w.tenant_id, w.wallet) = (a.tenant_id, a.wallet))
    UNION ALL
    SELECT 'I3', l.tenant_id, format('lot %s: of no member''s active account', l.lot_id) FROM points_lot l
    WHERE NOT EXISTS (SELECT FROM points_account a WHERE (a.tenant_id, a.account_id) = (l.tenant_id, l.account_id)
                      AND a.kind = 'active')
    UNION ALL
    SELECT 'I4', u.tenant_id, format('use %s: of no lot or no transfer', u.use_id) FROM points_use u
    WHERE NOT EXISTS (SELECT FROM points_lot l WHERE (l.tenant_id, l.lot_id) = (u.tenant_id, u.lot_id))
       OR NOT EXISTS (SELECT FROM points_transfer m WHERE (m.tenant_id, m.transfer_id) = (u.tenant_id, u.transfer_id))
    UNION ALL
    SELECT 'I2', a.tenant_id, format('account %s: totals %s and %s, its transfers say %s and %s', a.account_id, a.debits,
                                     a.credits, coalesce(e.debit, 0), coalesce(e.credit, 0))
    FROM points_account a LEFT JOIN entry e USING (tenant_id, account_id)
    WHERE a.member_id IS NOT NULL AND (a.debits, a.credits) IS DISTINCT FROM (coalesce(e.debit, 0), coalesce(e.credit, 0))
    UNION ALL
    SELECT 'I3', a.tenant_id, format('account %s: balance %s, lots %s, owed %s', a.account_id, a.credits - a.debits,
                                     CASE a.kind WHEN 'active' THEN l.active ELSE p.pending END, a.owed)
    FROM points_account a LEFT JOIN lots l USING (tenant_id, account_id)
        LEFT JOIN points_account main ON a.kind = 'pending' AND main.tenant_id = a.tenant_id
            AND main.member_id = a.member_id AND main.wallet = a.wallet AND main.kind = 'active'
        LEFT JOIN lots p ON p.tenant_id = main.tenant_id AND p.account_id = main.account_id
    WHERE a.member_id IS NOT NULL AND a.credits - a.debits
        <> CASE a.kind WHEN 'active' THEN coalesce(l.active, 0) - a.owed ELSE coalesce(p.pending, 0) END
    UNION ALL
    SELECT 'I3', a.tenant_id, format('account %s: held %s, its lots say %s, its holds %s', a.account_id, a.held,
                                     coalesce(l.held, 0), coalesce(h.amount, 0))
    FROM points_account a LEFT JOIN lots l USING (tenant_id, account_id)
        LEFT JOIN (SELECT tenant_id, account_id, sum(amount) AS amount FROM points_hold WHERE state = 'held'
                   GROUP BY 1, 2) h USING (tenant_id, account_id)
    WHERE a.kind = 'active' AND (a.held, a.held) IS DISTINCT FROM (coalesce(l.held, 0), coalesce(h.amount, 0))
    UNION ALL
    SELECT 'I4', l.tenant_id, format('lot %s: %s remaining, its uses say %s', l.lot_id, l.remaining, sum(u.amount))
    FROM points_lot l LEFT JOIN points_use u USING (tenant_id, lot_id)
    GROUP BY l.tenant_id, l.lot_id, l.remaining HAVING l.remaining IS DISTINCT FROM sum(u.amount)
    UNION ALL
    SELECT 'I5', m.tenant_id, format('transfer %s of %s: lots changed by %s', m.transfer_id, m.amount,
                                     coalesce(u.amount, 0))
    FROM points_transfer m JOIN points_account d ON d.tenant_id = m.tenant_id AND d.account_id = m.debit
        JOIN points_account c ON c.tenant_id = m.tenant_id AND c.account_id = m.credit
        LEFT JOIN used u ON u.tenant_id = m.tenant_id AND u.transfer_id = m.transfer_id
        LEFT JOIN points_debt b ON b.tenant_id = m.tenant_id AND b.transfer_id = m.transfer_id
    WHERE coalesce(u.amount, 0) - coalesce(b.remaining, 0)
        <> m.amount * ((c.member_id IS NOT NULL)::int - (d.member_id IS NOT NULL)::int)
    UNION ALL
    SELECT 'I6', a.tenant_id, format('account %s: owed %s, its debts say %s', a.account_id, a.owed, coalesce(b.owed, 0))
    FROM points_account a LEFT JOIN (SELECT tenant_id, account_id, sum(remaining) AS owed FROM points_debt GROUP BY 1, 2) b
        USING (tenant_id, account_id)
    WHERE a.owed <> coalesce(b.owed, 0) OR (a.member_id IS NOT NULL AND a.credits - a.debits + a.owed < a.held)
    UNION ALL
    SELECT 'I7', a.tenant_id, format('wallet %s: issued and adjusted less redeemed, expired and outstanding is %s',
                                     a.wallet, sum(CASE WHEN a.member_id IS NULL THEN coalesce(e.debit - e.credit, 0)
                                         ELSE a.debits - a.credits END))
    FROM points_account a LEFT JOIN entry e USING (tenant_id, account_id) GROUP BY a.tenant_id, a.wallet
    HAVING sum(CASE WHEN a.member_id IS NULL THEN coalesce(e.debit - e.credit, 0) ELSE a.debits - a.credits END) <> 0
    UNION ALL
    SELECT 'I8', o.tenant_id, format('operation %s of %s: reversed by %s', o.operation_id, o.amount, sum(r.wanted))
    FROM points_operation o JOIN points_operation r ON r.tenant_id = o.tenant_id AND r.reverses = o.operation_id
    WHERE o.kind <> 'merge' GROUP BY o.tenant_id, o.operation_id, o.amount HAVING sum(r.wanted) > o.amount
    UNION ALL
    SELECT 'I10', s.tenant_id, format('the statement of %s does not follow from the transfers', s.day)
    FROM (SELECT *, lag(digest, 1, ''::bytea) OVER w AS before, lag(last_transfer, 1, 0::bigint) OVER w AS after
          FROM points_statement WINDOW w AS (PARTITION BY tenant_id ORDER BY day)) s
    WHERE s.digest <> points_digest(s.tenant_id, s.before, s.day, s.after, s.last_transfer)
$$;

-- Nobody but the product's roles may call any of it, and of the rest they need only what acts as the owner.
DO $$
DECLARE func record;
BEGIN
    FOR func IN SELECT oid::regprocedure AS name, prosecdef FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'points\_%' LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', func.name);
        IF func.prosecdef THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO aisle_app, aisle_service', func.name);
            -- Every statement in them finds its rows by a key. Planned anew at each call, a spend costs several times as much.
            EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', func.name);
        END IF;
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION points_faults, points_digest TO aisle_app, aisle_service;
