-- A stay goes on while it is credible at all; an offer waits until it is beyond doubt (cloud/locate/engine.py).
ALTER TABLE presence ADD trusted boolean NOT NULL DEFAULT true;
