-- Money on its way back after a sale. A refund is written down before the provider is asked, and counts
-- against what was captured from then on, so that two at once cannot both be let in.
CREATE TABLE refund (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payment (id),
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    -- Why, in one word; it is no place for personal data.
    reason text NOT NULL,
    -- Who asked for it.
    actor text NOT NULL,
    -- What whoever asked calls it: sent again, it is the same refund.
    reference text NOT NULL,
    state text NOT NULL DEFAULT 'requested',
    -- The provider's id of it, once it was made.
    provider_ref text,
    -- Why it was refused or failed, in the provider's word.
    code text,
    created_at timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    CONSTRAINT refund_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT refund_currency_is_code CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT refund_reference_once UNIQUE (payment_id, reference),
    CONSTRAINT refund_provider_ref_once UNIQUE (provider_ref),
    CONSTRAINT refund_state_known
        CHECK (state IN ('requested', 'pending', 'succeeded', 'failed', 'refused')),
    CONSTRAINT refund_made_has_provider_ref
        CHECK ((provider_ref IS NULL) = (state IN ('requested', 'refused'))),
    CONSTRAINT refund_undone_has_code CHECK ((code IS NULL) = (state NOT IN ('failed', 'refused'))),
    CONSTRAINT refund_decided_when_not_open
        CHECK ((decided_at IS NULL) = (state IN ('requested', 'pending')))
);
CREATE INDEX refund_waiting ON refund (created_at) WHERE state = 'requested';

-- What was paid back stays gross, as the provider's own books have it: a refund that fails later is an
-- entry of its own, after which the money can be paid back once more.
ALTER TABLE payment
    ADD COLUMN refunding_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN refund_failed_minor bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT payment_refunds_what_is_captured,
    ADD CONSTRAINT payment_refunds_never_negative
        CHECK (refunding_minor >= 0 AND refund_failed_minor BETWEEN 0 AND refunded_minor),
    ADD CONSTRAINT payment_refunds_what_is_captured
        CHECK (refunded_minor - refund_failed_minor + refunding_minor <= captured_minor);

ALTER TABLE payment_entry
    DROP CONSTRAINT entry_kind_known,
    ADD CONSTRAINT entry_kind_known
        CHECK (kind IN ('authorized', 'captured', 'voided', 'refunded', 'refund_failed'));

-- When the customer called off a paid order. It can be shipped no more, whoever tries.
ALTER TABLE customer_order
    ADD COLUMN called_off_at timestamptz,
    ADD CONSTRAINT order_called_off_is_not_shipped
        CHECK (called_off_at IS NULL OR state IN ('paid', 'refunded'));

-- What came back and was put on the shelf again, line by line. Written before the stock is booked in, so
-- that repeating mends whatever happened in between.
ALTER TABLE order_line
    ADD COLUMN restocked bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT order_line_restocks_what_was_sold CHECK (restocked BETWEEN 0 AND quantity);

CREATE TABLE restock (
    order_id uuid NOT NULL,
    reference text NOT NULL,
    sku text NOT NULL,
    quantity bigint NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, reference, sku),
    FOREIGN KEY (order_id, sku) REFERENCES order_line (order_id, sku),
    CONSTRAINT restock_positive CHECK (quantity > 0)
);
CREATE TRIGGER restock_append_only BEFORE UPDATE OR DELETE ON restock
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
