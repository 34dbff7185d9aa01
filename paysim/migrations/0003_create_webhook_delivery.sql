-- The queue of deliveries to merchants' endpoints. A row is written with its event, so that neither a
-- kill nor a restart loses what was to be sent; who dies in the middle of a try sends it again.

CREATE TABLE webhook_delivery (
    id bigint GENERATED ALWAYS AS IDENTITY,
    event text COLLATE "C" NOT NULL,
    url text NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    -- What goes wrong with it on purpose, decided when it is first due.
    fault text,
    -- Sent again by hand. No fault befalls it.
    resent boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    -- When it is tried next. During a try it is when the try is given up for dead.
    due_at timestamptz NOT NULL,
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL,
    delivered_at timestamptz,
    CONSTRAINT webhook_delivery_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_delivery_event_exists FOREIGN KEY (event) REFERENCES event (id),
    CONSTRAINT webhook_delivery_state_known
        CHECK (state IN ('pending', 'delivered', 'lost', 'abandoned')),
    CONSTRAINT webhook_delivery_fault_known
        CHECK (fault IN ('duplicate', 'delay', 'reorder', 'lose', 'forge', 'stale')),
    CONSTRAINT webhook_delivery_resent_is_faultless CHECK (NOT resent OR fault IS NULL),
    CONSTRAINT webhook_delivery_lost_on_purpose CHECK ((state = 'lost') = (fault IS NOT DISTINCT FROM 'lose')),
    CONSTRAINT webhook_delivery_delivered_has_time
        CHECK ((state = 'delivered') = (delivered_at IS NOT NULL)),
    CONSTRAINT webhook_delivery_attempts_counted CHECK (attempts >= 0)
);

CREATE INDEX webhook_delivery_due ON webhook_delivery (due_at, id) WHERE state = 'pending';
CREATE INDEX webhook_delivery_event ON webhook_delivery (event);
