-- Where the customer of an attempt confirms it with their bank, so that whoever asks for the checkout can be
-- told without asking its workflow.
ALTER TABLE payment_attempt
    ADD COLUMN redirect_url text,
    ADD CONSTRAINT attempt_redirect_is_short CHECK (length(redirect_url) BETWEEN 1 AND 8192);
