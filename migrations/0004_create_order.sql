-- The durable record of a sale. It shares its id with the checkout that makes it.
CREATE TABLE customer_order (
    id uuid PRIMARY KEY REFERENCES checkout (id),
    customer_id uuid NOT NULL,
    state text NOT NULL,
    total_minor bigint NOT NULL,
    currency text NOT NULL,
    cart_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT order_state_known CHECK (
        state IN ('pending', 'placed', 'paid', 'shipped', 'delivered', 'cancelled', 'refunded')
    ),
    CONSTRAINT order_total_in_range CHECK (total_minor BETWEEN 0 AND 900000000000000),
    CONSTRAINT order_currency_is_code CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE INDEX order_customer ON customer_order (customer_id, created_at DESC, id);
-- One cart version is sold at most once, whatever the code above believes.
CREATE UNIQUE INDEX order_cart_version_live ON customer_order (customer_id, cart_version)
    WHERE state <> 'cancelled';

CREATE TABLE order_line (
    order_id uuid NOT NULL REFERENCES customer_order (id),
    sku text NOT NULL,
    title text NOT NULL,
    quantity bigint NOT NULL,
    unit_price_minor bigint NOT NULL,
    PRIMARY KEY (order_id, sku),
    CONSTRAINT order_line_quantity_in_range CHECK (quantity BETWEEN 1 AND 999),
    CONSTRAINT order_line_price_in_range CHECK (unit_price_minor BETWEEN 0 AND 900000000000000)
);

-- What happened to an order, each cause once.
CREATE TABLE order_event (
    order_id uuid NOT NULL REFERENCES customer_order (id),
    seq bigint NOT NULL,
    kind text NOT NULL,
    cause text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, seq),
    CONSTRAINT order_event_cause_once UNIQUE (order_id, cause)
);
CREATE TRIGGER order_event_append_only BEFORE UPDATE OR DELETE ON order_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Events for others to read, written in the transaction that causes them.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    cause text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_cause_once UNIQUE (topic, cause)
);
