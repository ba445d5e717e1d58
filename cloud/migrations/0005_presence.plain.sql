-- Without TimescaleDB: positions in day partitions like sightings.

CREATE INDEX ON position USING brin (time);
CREATE INDEX ON position (visit_id, time);
