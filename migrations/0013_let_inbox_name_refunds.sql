-- An event may be about a refund of ours: then its workflow is woken, instead of its payment's.
ALTER TABLE inbox
    ADD COLUMN refund_id uuid REFERENCES refund (id),
    -- The provider's id of the refund that the event is about, if it names one.
    ADD COLUMN refund_ref text,
    ADD CONSTRAINT inbox_refund_ref_is_short CHECK (length(refund_ref) BETWEEN 1 AND 255);

-- What was carried is forgotten in the end, the oldest first.
CREATE INDEX inbox_carried ON inbox (carried_at) WHERE carried_at IS NOT NULL;
