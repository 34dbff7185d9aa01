-- What reconciling the books with the card provider's found: differences that were mended, and cases that
-- wait for people. One row for each difference and the facts it was found with: found again, it is the
-- same case, and other facts about the same thing are another.
CREATE TABLE reconciliation_case (
    id uuid PRIMARY KEY,
    difference text NOT NULL,
    -- What differs, by its public id: a payment, a checkout's hold, a SKU, or the provider's id.
    subject text NOT NULL,
    -- Ids and amounts. No personal data.
    facts jsonb NOT NULL,
    state text NOT NULL,
    -- When it was found first; for one that is mended, the last time.
    found_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolved_by text,
    reason text,
    CONSTRAINT case_difference_known CHECK (
        difference IN (
            'charge_without_order', 'order_without_charge', 'open_authorization', 'amount_mismatch',
            'odd_intent', 'orphan_hold', 'counter_mismatch'
        )
    ),
    CONSTRAINT case_subject_is_short CHECK (length(subject) BETWEEN 1 AND 255),
    CONSTRAINT case_state_known CHECK (state IN ('mended', 'open', 'resolved')),
    CONSTRAINT case_resolved_by_somebody CHECK (
        (state = 'resolved') = (resolved_at IS NOT NULL)
        AND (state = 'resolved') = (resolved_by IS NOT NULL)
        AND (state = 'resolved') = (reason IS NOT NULL)
    ),
    CONSTRAINT case_reason_is_short CHECK (length(reason) BETWEEN 1 AND 200)
);
CREATE INDEX reconciliation_case_state ON reconciliation_case (state, found_at);

-- Attempts of a time. They are begun in the order in which they lie, so this costs a sale next to nothing.
CREATE INDEX payment_attempt_started ON payment_attempt USING brin (started_at);
