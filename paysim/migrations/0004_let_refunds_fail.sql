-- A refund can be pending at first and can fail days after it seemed done. What came before was
-- refunded at once, which the defaults say.

ALTER TABLE refund
    ADD COLUMN status text NOT NULL DEFAULT 'succeeded',
    ADD COLUMN failure_reason text,
    -- What the network will make of it after a while; nothing when its word is final.
    ADD COLUMN settles_to text,
    ADD CONSTRAINT refund_status_known CHECK (status IN ('pending', 'succeeded', 'failed')),
    ADD CONSTRAINT refund_failure_has_reason
        CHECK ((status = 'failed') = (failure_reason IS NOT NULL)),
    ADD CONSTRAINT refund_settles_forward CHECK (
        settles_to IS NULL
        OR (status = 'pending' AND settles_to IN ('succeeded', 'failed'))
        OR (status = 'succeeded' AND settles_to = 'failed')
    ),
    ADD CONSTRAINT refund_pending_settles CHECK (status <> 'pending' OR settles_to IS NOT NULL);

CREATE INDEX refund_charge ON refund (charge, id);
CREATE INDEX refund_settling ON refund (created_at) WHERE settles_to IS NOT NULL;

-- The ledger keeps the refund and tells of its failure with an entry of its own.
ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_kind_known;
ALTER TABLE ledger_entry ADD CONSTRAINT ledger_entry_kind_known CHECK (
    kind IN ('authorized', 'captured', 'voided', 'refunded', 'refund_failed', 'declined')
);
