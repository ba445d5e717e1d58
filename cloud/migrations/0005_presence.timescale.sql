-- With TimescaleDB: positions as a hypertable of one-day chunks with the same indexes.

ALTER TABLE position RENAME TO position_plain;
CREATE TABLE position (LIKE position_plain);
DROP TABLE position_plain;
SELECT create_hypertable('position', by_range('time', interval '1 day'), create_default_indexes => false);
CREATE INDEX ON position USING brin (time);
CREATE INDEX ON position (visit_id, time);
GRANT SELECT, INSERT ON position TO aisle_service;
