-- Money may be paid back by hand at the provider, and is found by comparing its refunds with ours.
ALTER TABLE reconciliation_case
    DROP CONSTRAINT case_difference_known,
    ADD CONSTRAINT case_difference_known CHECK (
        difference IN (
            'charge_without_order', 'order_without_charge', 'open_authorization', 'amount_mismatch',
            'unrecorded_refund', 'odd_intent', 'orphan_hold', 'counter_mismatch'
        )
    );
