-- What was promised and is neither kept nor called off long after is found by looking at the time.
ALTER TABLE reconciliation_case
    DROP CONSTRAINT case_difference_known,
    ADD CONSTRAINT case_difference_known CHECK (
        difference IN (
            'charge_without_order', 'order_without_charge', 'open_authorization', 'amount_mismatch',
            'unrecorded_refund', 'odd_intent', 'orphan_hold', 'counter_mismatch', 'overdue_checkout',
            'overdue_refund', 'unreturned_money'
        )
    );

CREATE INDEX refund_pending ON refund (created_at) WHERE state = 'pending';
CREATE INDEX order_called_off ON customer_order (called_off_at) WHERE state = 'paid' AND called_off_at IS NOT NULL;
