-- A closed payment may be paid more than once: by what was captured and is being paid back, and by money
-- that comes late. All of it goes back, and the books must be able to say so; only what is kept is bounded
-- by what was to be paid. While a payment is open, nothing is captured beyond that at all.
ALTER TABLE payment
    DROP CONSTRAINT payment_captures_at_most_the_amount,
    ADD CONSTRAINT payment_captures_at_most_the_amount CHECK (
        captured_minor <= amount_minor
        OR (closed_at IS NOT NULL AND captured_minor - refunded_minor <= amount_minor)
    );
