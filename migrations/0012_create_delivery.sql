-- Telling others. Each event of the outbox is given out once to everybody who listens, and each gift is
-- a row that is tried until it is taken.

-- Events that have not been given out yet. The relay holds its rows of the outbox while it talks to the
-- engine, so a mark in the same row would make the readers wait for each other; and this way nobody who
-- writes an event can forget to have it given out. What stands in the outbox already is not announced:
-- nobody listened.
CREATE TABLE announcement (
    event_id bigint PRIMARY KEY REFERENCES outbox (id)
);
CREATE FUNCTION announce_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO announcement (event_id) VALUES (NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_is_announced AFTER INSERT ON outbox
    FOR EACH ROW EXECUTE FUNCTION announce_event();

-- An order's events are found by its id in what they say.
CREATE INDEX outbox_order ON outbox ((payload ->> 'order_id'));

-- Where an operator wants events to be posted to. One that was removed stays, for its deliveries' sake,
-- and its secret does not.
CREATE TABLE webhook_endpoint (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    url text NOT NULL,
    topics text[] NOT NULL,
    secret text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    CONSTRAINT endpoint_url_is_short CHECK (length(url) BETWEEN 1 AND 2000),
    CONSTRAINT endpoint_topics_bounded CHECK (cardinality(topics) BETWEEN 1 AND 50),
    CONSTRAINT endpoint_secret_until_removed CHECK ((secret IS NULL) = (removed_at IS NOT NULL))
);

-- One event on its way to one consumer: an endpoint, or without one the customer's mailbox. Whose
-- mailbox is looked up when the mail is written, and stands in no second place.
CREATE TABLE delivery (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    event_id bigint NOT NULL REFERENCES outbox (id),
    endpoint_id uuid REFERENCES webhook_endpoint (id),
    state text NOT NULL DEFAULT 'waiting',
    tries bigint NOT NULL DEFAULT 0,
    -- When it is tried next. Whoever tries moves this past the longest time a try can take, so the
    -- delivery of a worker that died comes due by itself.
    due_at timestamptz NOT NULL DEFAULT now(),
    -- Since when it has been tried without somebody asking for more.
    tried_since timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    -- What went wrong the last time. No personal data.
    last_error text,
    CONSTRAINT delivery_once UNIQUE NULLS NOT DISTINCT (event_id, endpoint_id),
    CONSTRAINT delivery_state_known CHECK (state IN ('waiting', 'delivered', 'dead')),
    CONSTRAINT delivery_ended_unless_waiting CHECK ((state = 'waiting') = (ended_at IS NULL)),
    CONSTRAINT delivery_tries_count CHECK (tries >= 0),
    CONSTRAINT delivery_error_is_short CHECK (length(last_error) <= 300)
);
CREATE INDEX delivery_due ON delivery (endpoint_id, due_at) WHERE state = 'waiting';
CREATE INDEX delivery_dead ON delivery (ended_at) WHERE state = 'dead';
