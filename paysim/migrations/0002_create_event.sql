-- What a merchant is told of: one row for each change of an intent, a charge or a refund, written by
-- the statement that makes the change, so that neither exists without the other.

CREATE TABLE event (
    -- A prefix and a time-ordered UUID in hex: the primary key is also the order of events.
    id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    payment_intent text COLLATE "C" NOT NULL,
    payment_id text,
    -- The event as sent, with the object as it was then.
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT event_pkey PRIMARY KEY (id),
    CONSTRAINT event_type_known CHECK (type IN (
        'payment_intent.created', 'payment_intent.requires_action'
      , 'payment_intent.amount_capturable_updated', 'payment_intent.succeeded'
      , 'payment_intent.payment_failed', 'payment_intent.canceled'
      , 'charge.refunded', 'refund.created', 'refund.updated', 'refund.failed'
    )),
    CONSTRAINT event_body_is_of_its_row CHECK (
        body ->> 'id' = id AND body ->> 'type' = type AND body #> '{data,object,id}' IS NOT NULL
    )
);

CREATE INDEX event_type ON event (type, id);
CREATE INDEX event_payment_intent ON event (payment_intent);
CREATE INDEX event_payment_id ON event (payment_id) WHERE payment_id IS NOT NULL;

CREATE FUNCTION event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only: % refused', TG_OP;
END
$$;

CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION event_is_append_only();
