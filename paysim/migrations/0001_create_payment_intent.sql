-- The card network's own books. The rules that must hold whatever the code does are constraints
-- here, because this database is the judge of double charges and a judge must not trust its caller.

CREATE TABLE payment_intent (
    -- Ids are a prefix and a time-ordered UUID in hex, so the primary key is also creation order.
    id text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    capture_method text NOT NULL,
    status text NOT NULL,
    payment_method text,
    amount_authorized bigint NOT NULL,
    amount_captured bigint NOT NULL,
    amount_refunded bigint NOT NULL,
    charge text,
    cancellation_reason text,
    canceled_at timestamptz,
    return_url text,
    last_payment_error jsonb,
    metadata jsonb NOT NULL,
    -- The shop's own reference, lifted out of the metadata so that a look-up by it is one index probe.
    payment_id text GENERATED ALWAYS AS (metadata ->> 'payment_id') STORED,
    created_at timestamptz NOT NULL,
    -- Optimistic lock: a change is written only on the version it was computed from.
    version bigint NOT NULL,
    CONSTRAINT payment_intent_pkey PRIMARY KEY (id),
    CONSTRAINT payment_intent_amount_positive CHECK (amount > 0),
    CONSTRAINT payment_intent_currency_is_code CHECK (currency ~ '^[a-z]{3}$'),
    CONSTRAINT payment_intent_capture_method_known CHECK (capture_method IN ('automatic', 'manual')),
    CONSTRAINT payment_intent_status_known CHECK (status IN (
        'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing',
        'requires_capture', 'canceled', 'succeeded'
    )),
    CONSTRAINT payment_intent_authorized_whole CHECK (amount_authorized IN (0, amount)),
    CONSTRAINT payment_intent_captured_within_authorized
        CHECK (amount_captured BETWEEN 0 AND amount_authorized),
    CONSTRAINT payment_intent_refunded_within_captured
        CHECK (amount_refunded BETWEEN 0 AND amount_captured),
    CONSTRAINT payment_intent_status_agrees_with_money CHECK (
        CASE status
            WHEN 'succeeded' THEN amount_captured > 0
            WHEN 'requires_capture' THEN amount_authorized = amount AND amount_captured = 0
            WHEN 'canceled' THEN amount_captured = 0
            ELSE amount_authorized = 0
        END
    ),
    CONSTRAINT payment_intent_canceled_has_time CHECK ((status = 'canceled') = (canceled_at IS NOT NULL))
);

CREATE INDEX payment_intent_payment_id ON payment_intent (payment_id) WHERE payment_id IS NOT NULL;

CREATE TABLE refund (
    id text COLLATE "C" NOT NULL,
    payment_intent text COLLATE "C" NOT NULL,
    charge text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    reason text,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT refund_pkey PRIMARY KEY (id),
    CONSTRAINT refund_payment_intent_exists FOREIGN KEY (payment_intent) REFERENCES payment_intent (id),
    CONSTRAINT refund_amount_positive CHECK (amount > 0)
);

CREATE INDEX refund_payment_intent ON refund (payment_intent, id);

-- What a card network would have done, in order. It has no foreign key: a row is only ever written by
-- the statement that wrote its intent, and the check would cost a row lock for each payment.
CREATE TABLE ledger_entry (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    payment_intent text COLLATE "C" NOT NULL,
    payment_id text,
    kind text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    metadata jsonb NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT ledger_entry_pkey PRIMARY KEY (seq),
    CONSTRAINT ledger_entry_kind_known
        CHECK (kind IN ('authorized', 'captured', 'voided', 'refunded', 'declined')),
    CONSTRAINT ledger_entry_amount_positive CHECK (amount > 0)
);

CREATE INDEX ledger_entry_payment_intent ON ledger_entry (payment_intent);
CREATE INDEX ledger_entry_payment_id ON ledger_entry (payment_id) WHERE payment_id IS NOT NULL;
-- One intent is authorized once and its authorization ends once, by a capture or by a void.
CREATE UNIQUE INDEX ledger_entry_authorized_once ON ledger_entry (payment_intent)
    WHERE kind = 'authorized';
CREATE UNIQUE INDEX ledger_entry_ended_once ON ledger_entry (payment_intent)
    WHERE kind IN ('captured', 'voided');

CREATE FUNCTION ledger_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP;
END
$$;

CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_entry_is_append_only();

-- The first answer given under an Idempotency-Key, kept byte for byte.
CREATE TABLE idempotency_key (
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    status integer NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (key),
    CONSTRAINT idempotency_key_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT idempotency_key_status_is_http CHECK (status BETWEEN 200 AND 599)
);

CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);

-- Which faults asked for in metadata have already happened, so that a retry gets through.
CREATE TABLE fault_fired (
    scope text NOT NULL,
    operation text NOT NULL,
    fired_at timestamptz NOT NULL,
    CONSTRAINT fault_fired_pkey PRIMARY KEY (scope, operation)
);
