-- Parcels. An order is shipped in one or several; where it stands follows from where they stand.
ALTER TABLE customer_order
    DROP CONSTRAINT order_state_known,
    ADD CONSTRAINT order_state_known CHECK (
        state IN (
            'pending', 'placed', 'paid', 'partially_shipped', 'shipped', 'delivered', 'cancelled', 'refunded'
        )
    );

-- The units of a line that are in shipments which were not called off. Kept beside the line, so that a
-- constraint can hold it against what was ordered.
ALTER TABLE order_line
    ADD COLUMN shipped_quantity bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT order_line_ships_what_was_ordered CHECK (shipped_quantity BETWEEN 0 AND quantity);

CREATE TABLE shipment (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES customer_order (id),
    carrier text NOT NULL,
    tracking_number text NOT NULL,
    state text NOT NULL DEFAULT 'created',
    created_at timestamptz NOT NULL DEFAULT now(),
    -- By the carrier's word, which may be that it arrived and never that it left.
    dispatched_at timestamptz,
    delivered_at timestamptz,
    CONSTRAINT shipment_tracking_number_once UNIQUE (carrier, tracking_number),
    CONSTRAINT shipment_state_known
        CHECK (state IN ('created', 'dispatched', 'delivered', 'cancelled')),
    CONSTRAINT shipment_dispatched_with_time CHECK (state <> 'dispatched' OR dispatched_at IS NOT NULL),
    CONSTRAINT shipment_delivered_with_time CHECK ((state = 'delivered') = (delivered_at IS NOT NULL)),
    CONSTRAINT shipment_without_times_before_it_leaves
        CHECK (state NOT IN ('created', 'cancelled') OR dispatched_at IS NULL)
);
CREATE INDEX shipment_order ON shipment (order_id, created_at, id);

CREATE TABLE shipment_line (
    shipment_id uuid NOT NULL REFERENCES shipment (id),
    order_id uuid NOT NULL,
    sku text NOT NULL,
    quantity bigint NOT NULL,
    PRIMARY KEY (shipment_id, sku),
    CONSTRAINT shipment_line_is_of_the_order FOREIGN KEY (order_id, sku) REFERENCES order_line (order_id, sku),
    CONSTRAINT shipment_line_quantity_in_range CHECK (quantity BETWEEN 1 AND 999)
);
CREATE INDEX shipment_line_order ON shipment_line (order_id, sku);

-- What carriers said, each event once, whether or not we know its parcel. Written before the carrier is
-- answered.
CREATE TABLE carrier_event (
    carrier text NOT NULL,
    event_id text NOT NULL,
    tracking_number text NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (carrier, event_id),
    CONSTRAINT carrier_event_kind_known CHECK (kind IN ('dispatched', 'delivered'))
);
CREATE INDEX carrier_event_parcel ON carrier_event (carrier, tracking_number);
CREATE TRIGGER carrier_event_append_only BEFORE UPDATE OR DELETE ON carrier_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Which of them still have to be told to the order's fulfilment. Apart, since events never change.
CREATE TABLE carrier_event_waiting (
    carrier text NOT NULL,
    event_id text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (carrier, event_id),
    FOREIGN KEY (carrier, event_id) REFERENCES carrier_event (carrier, event_id)
);
CREATE INDEX carrier_event_waiting_due ON carrier_event_waiting (due_at);
