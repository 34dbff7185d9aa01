-- The money side of a checkout, with whose id it goes. The sums are kept beside the ledger, so that
-- the constraints can hold them against each other.
CREATE TABLE payment (
    id uuid PRIMARY KEY REFERENCES customer_order (id),
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    authorized_minor bigint NOT NULL DEFAULT 0,
    voided_minor bigint NOT NULL DEFAULT 0,
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    -- Set when the payment is undone: no attempt may begin after that.
    closed_at timestamptz,
    CONSTRAINT payment_never_negative CHECK (
        amount_minor >= 0 AND authorized_minor >= 0 AND voided_minor >= 0
        AND captured_minor >= 0 AND refunded_minor >= 0
    ),
    CONSTRAINT payment_captures_what_is_authorized
        CHECK (captured_minor <= authorized_minor - voided_minor),
    CONSTRAINT payment_captures_at_most_the_amount CHECK (captured_minor <= amount_minor),
    CONSTRAINT payment_refunds_what_is_captured CHECK (refunded_minor <= captured_minor)
);

CREATE TABLE payment_attempt (
    payment_id uuid NOT NULL REFERENCES payment (id),
    attempt bigint NOT NULL,
    method text NOT NULL,
    state text NOT NULL DEFAULT 'started',
    provider_ref text,
    decline_code text,
    started_at timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    PRIMARY KEY (payment_id, attempt),
    CONSTRAINT attempt_counts_from_one CHECK (attempt >= 1),
    CONSTRAINT attempt_state_known CHECK (
        state IN ('started', 'action_required', 'approved', 'captured', 'declined', 'closed')
    ),
    CONSTRAINT attempt_provider_ref_once UNIQUE (provider_ref),
    CONSTRAINT attempt_decided_when_not_open
        CHECK ((state IN ('started', 'action_required')) = (decided_at IS NULL))
);
-- A new attempt begins only when the one before it is definitely dead.
CREATE UNIQUE INDEX attempt_one_live ON payment_attempt (payment_id)
    WHERE state IN ('started', 'action_required', 'approved', 'captured');

CREATE TABLE payment_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payment (id),
    attempt bigint NOT NULL,
    kind text NOT NULL,
    amount_minor bigint NOT NULL,
    -- The provider's id of what this entry records; none is recorded twice.
    provider_ref text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT entry_kind_known CHECK (kind IN ('authorized', 'captured', 'voided', 'refunded')),
    CONSTRAINT entry_positive CHECK (amount_minor > 0),
    CONSTRAINT entry_provider_ref_once UNIQUE (kind, provider_ref)
);
CREATE INDEX payment_entry_payment ON payment_entry (payment_id);
CREATE TRIGGER payment_entry_append_only BEFORE UPDATE OR DELETE ON payment_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
