-- A checkout as it was asked for, and how it ended. The API writes the request before it starts the
-- workflow, so a retried request is recognised and personal data stays out of the engine; the step
-- that ends the checkout writes the rest.
CREATE TABLE checkout (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    email text NOT NULL,
    shipping_address jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state text,
    problem jsonb,
    finished_at timestamptz,
    CONSTRAINT checkout_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT checkout_state_is_final
        CHECK (state IN ('completed', 'failed', 'cancelled', 'expired')),
    CONSTRAINT checkout_finished_with_state CHECK ((state IS NULL) = (finished_at IS NULL)),
    CONSTRAINT checkout_problem_unless_completed
        CHECK ((problem IS NULL) = (state IS NULL OR state = 'completed'))
);
CREATE INDEX checkout_customer ON checkout (customer_id, created_at DESC);
CREATE INDEX checkout_unfinished ON checkout (created_at) WHERE finished_at IS NULL;

-- A cart is locked by the one checkout that is buying it.
CREATE TABLE cart (
    customer_id uuid PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    checkout_id uuid REFERENCES checkout (id),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT cart_version_counts CHECK (version >= 0)
);

CREATE TABLE cart_line (
    customer_id uuid NOT NULL REFERENCES cart (customer_id),
    sku text NOT NULL REFERENCES sku (sku),
    quantity bigint NOT NULL,
    seen_price_minor bigint NOT NULL,
    seen_currency text NOT NULL,
    PRIMARY KEY (customer_id, sku),
    CONSTRAINT cart_line_quantity_in_range CHECK (quantity BETWEEN 1 AND 999)
);
