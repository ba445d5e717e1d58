-- Zones by five minutes: what the zone table of a month is made of, written in the transactions that make it so.

-- A visit counts once in each zone it was in, in the five minutes in which it first came there: sums over any span count
-- nobody twice. The locator adds a visit when it is over; the worker adds to `converted` when it joins a receipt.
CREATE TABLE zone_5min (
    tenant_id text NOT NULL,
    store_id  text NOT NULL,
    zone      text NOT NULL,
    time      timestamptz NOT NULL, -- the bucket's beginning
    visits    integer NOT NULL DEFAULT 0,
    seconds   double precision NOT NULL DEFAULT 0, -- spent in the zone by these visits
    dwells    real[] NOT NULL DEFAULT '{}', -- each visit's share of `seconds`, in no order: medians cannot be added
    converted integer NOT NULL DEFAULT 0, -- visits whose receipt holds a category of the zone's planogram
    PRIMARY KEY (tenant_id, store_id, zone, time),
    CHECK (visits = cardinality(dwells))
);

-- What was there before this table. The owner is bound by row security: it may look for as long as this takes.
DO $$
DECLARE tbl text;
BEGIN
    FOREACH tbl IN ARRAY '{visit,presence,receipt,receipt_line,receipt_visit,zone}'::text[] LOOP
        EXECUTE format('CREATE POLICY backfill ON %I FOR SELECT TO aisle_owner USING (true)', tbl);
    END LOOP;

    INSERT INTO zone_5min (tenant_id, store_id, zone, time, visits, seconds, dwells)
    SELECT tenant_id, store_id, zone, time, count(*), sum(dwell), array_agg(dwell)
    FROM (SELECT v.tenant_id, v.store_id, p.zone, date_bin('5 minutes', min(p.entered_at), 'epoch') AS time,
                 sum(extract(epoch FROM coalesce(p.left_at, v.seen_at) - p.entered_at))::real AS dwell
          FROM visit v JOIN presence p USING (visit_id)
          WHERE v.ended_at IS NOT NULL AND NOT v.excluded
          GROUP BY v.visit_id, p.zone) stay
    GROUP BY tenant_id, store_id, zone, time ORDER BY time;

    INSERT INTO zone_5min AS r (tenant_id, store_id, zone, time, converted)
    SELECT tenant_id, store_id, zone, time, count(*)
    FROM (SELECT v.tenant_id, v.store_id, p.zone, date_bin('5 minutes', min(p.entered_at), 'epoch') AS time
          FROM receipt_visit x JOIN receipt b USING (receipt_id) JOIN visit v USING (visit_id)
               JOIN presence p ON p.visit_id = v.visit_id AND p.entered_at <= b.at
               JOIN zone z ON (z.tenant_id, z.store_id, z.zone) = (p.tenant_id, p.store_id, p.zone)
          WHERE NOT v.excluded AND EXISTS (SELECT FROM receipt_line l
                                           WHERE l.receipt_id = x.receipt_id AND l.category = ANY(z.categories))
          GROUP BY v.visit_id, p.zone) bought
    GROUP BY tenant_id, store_id, zone, time
    ON CONFLICT (tenant_id, store_id, zone, time) DO UPDATE SET converted = excluded.converted;

    FOREACH tbl IN ARRAY '{visit,presence,receipt,receipt_line,receipt_visit,zone}'::text[] LOOP
        EXECUTE format('DROP POLICY backfill ON %I', tbl);
    END LOOP;
END $$;
CALL protect('zone_5min', 'SELECT', 'SELECT, INSERT, UPDATE');
