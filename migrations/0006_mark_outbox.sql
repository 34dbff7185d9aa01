-- When an event was carried to everyone it concerns; what waits is found by the index.
ALTER TABLE outbox ADD COLUMN carried_at timestamptz;
CREATE INDEX outbox_waiting ON outbox (id) WHERE carried_at IS NULL;
