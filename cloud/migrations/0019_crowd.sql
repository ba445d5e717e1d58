-- Heads counted by hand, and what they say of a store's devices.

CREATE TABLE crowd_count (
    tenant_id  text NOT NULL,
    store_id   text NOT NULL,
    at         timestamptz NOT NULL,
    people     integer NOT NULL CHECK (people >= 0 AND people <= 100000),
    counted_by text NOT NULL, -- the login of who counted
    PRIMARY KEY (tenant_id, store_id, at),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('crowd_count', 'SELECT, INSERT, UPDATE', '');

-- One a store: fitted again when a count is new, or when the devices of a count's span have come in.
CREATE TABLE crowd_calibration (
    tenant_id        text NOT NULL,
    store_id         text NOT NULL,
    source           text NOT NULL CHECK (source IN ('ble', 'wifi', 'stations')),
    fitted_at        timestamptz NOT NULL,
    matched          integer NOT NULL, -- counts whose span nodes told of
    digest           bytea NOT NULL, -- of what it was fitted to: nothing new, nothing to fit
    people_per_device double precision NOT NULL,
    weight           double precision NOT NULL,
    dispersion       double precision NOT NULL,
    forest           bytea, -- cloud.crowd.forest.Forest as npz; null while the ratio serves better
    scale            double precision NOT NULL DEFAULT 1,
    error_people     double precision, -- mean, on days left out; null with too few counts to tell
    PRIMARY KEY (tenant_id, store_id),
    FOREIGN KEY (tenant_id, store_id) REFERENCES store
);
CALL protect('crowd_calibration', 'SELECT, INSERT, UPDATE', '');
