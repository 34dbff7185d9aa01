-- That something has happened to a payment, as told from outside: by the provider's webhook, or by the
-- customer's browser on its way back from the bank. Each row is a reason to look, once per event however
-- often it is delivered; what the event said of amounts and states is not kept, for it is not believed.
CREATE TABLE inbox (
    provider text NOT NULL,
    event_id text NOT NULL,
    -- The provider's word for what changed; for people, it decides nothing.
    kind text NOT NULL,
    payment_id uuid NOT NULL REFERENCES payment (id),
    -- Which attempt, and the provider's id of it, as far as the event or our books say.
    attempt bigint,
    provider_ref text,
    received_at timestamptz NOT NULL DEFAULT now(),
    -- Not to be carried before this: set ahead by whoever is carrying it, and by who could not.
    due_at timestamptz NOT NULL DEFAULT now(),
    -- How often somebody set out to carry it.
    tries bigint NOT NULL DEFAULT 0,
    carried_at timestamptz,
    PRIMARY KEY (provider, event_id),
    CONSTRAINT inbox_provider_is_word CHECK (provider ~ '^[a-z_]{1,32}$'),
    CONSTRAINT inbox_event_id_is_short CHECK (length(event_id) BETWEEN 1 AND 300),
    CONSTRAINT inbox_kind_is_short CHECK (length(kind) BETWEEN 1 AND 100),
    CONSTRAINT inbox_attempt_counts_from_one CHECK (attempt >= 1),
    CONSTRAINT inbox_provider_ref_is_short CHECK (length(provider_ref) BETWEEN 1 AND 255)
);
CREATE INDEX inbox_waiting ON inbox (due_at) WHERE carried_at IS NULL;
CREATE INDEX inbox_payment ON inbox (payment_id);

-- What operators decided about checkouts that needed attention, and when the checkout was seen to take it:
-- written down before it is told, so that nothing is done in nobody's name.
CREATE TABLE checkout_resolution (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    checkout_id uuid NOT NULL REFERENCES checkout (id),
    action text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    taken_at timestamptz,
    CONSTRAINT resolution_action_known CHECK (action IN ('retry', 'give_up')),
    CONSTRAINT resolution_reason_is_short CHECK (length(reason) BETWEEN 1 AND 200)
);
CREATE INDEX checkout_resolution_checkout ON checkout_resolution (checkout_id);
