-- Stock. Every unit ever received is available, reserved or sold, and every row re-proves that at
-- every write. These tables refer to no others, so that they can live in databases of their own.
CREATE TABLE inventory (
    sku text PRIMARY KEY,
    received bigint NOT NULL DEFAULT 0,
    available bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    sold bigint NOT NULL DEFAULT 0,
    CONSTRAINT inventory_never_negative CHECK (available >= 0 AND reserved >= 0 AND sold >= 0),
    CONSTRAINT inventory_conserved CHECK (received = available + reserved + sold)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
-- No other index: only then can every update of a hot row stay on its page.

-- The only way that stock enters or leaves outside orders.
CREATE TABLE receipt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text NOT NULL,
    delta bigint NOT NULL,
    reason text NOT NULL,
    reference text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT receipt_moves_stock CHECK (delta <> 0),
    CONSTRAINT receipt_reference_once UNIQUE (reference)
);

-- One row per checkout: its idempotency key, its state machine and its lines. A row that was
-- released before it was ever held has no lines: it bars a reserve that is still on its way.
CREATE TABLE reservation (
    checkout_id uuid PRIMARY KEY,
    state text NOT NULL,
    skus text[] NOT NULL,
    quantities bigint[] NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    CONSTRAINT reservation_state_known CHECK (state IN ('held', 'committed', 'released', 'expired')),
    CONSTRAINT reservation_resolved_once CHECK ((state = 'held') = (resolved_at IS NULL)),
    CONSTRAINT reservation_lines_pair CHECK (cardinality(skus) = cardinality(quantities)),
    CONSTRAINT reservation_lines_bounded CHECK (cardinality(skus) <= 100),
    CONSTRAINT reservation_holds_something
        CHECK (state IN ('released', 'expired') OR cardinality(skus) >= 1),
    CONSTRAINT reservation_quantities_positive CHECK (0 < ALL (quantities))
) WITH (fillfactor = 80);
CREATE INDEX reservation_due ON reservation (expires_at) WHERE state = 'held';

-- Ledgers are written once. A correction is another row.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER receipt_append_only BEFORE UPDATE OR DELETE ON receipt
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
