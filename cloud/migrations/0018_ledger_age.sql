-- What a batch's name is remembered for is that a node may send it again. A node that was away for longer than this is kept
-- (cloud/retention.py) repeats at most what was stored while its last ack was on the way.

CREATE INDEX ON batch USING brin (stored_at);
GRANT DELETE ON batch, dead_letter TO aisle_service;
