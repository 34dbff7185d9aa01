-- Which part of the shop's stock a database holds: part `number` of `parts`, by the hash of the SKU, or
-- none of it. A process that believes otherwise would look for stock where it is not, so whoever
-- connects compares. A database nobody has claimed holds whatever it is asked for.
CREATE TABLE stock_part (
    only_row boolean PRIMARY KEY DEFAULT true,
    number integer,
    parts integer NOT NULL,
    CONSTRAINT stock_part_once CHECK (only_row),
    CONSTRAINT stock_part_in_range CHECK (number BETWEEN 0 AND parts - 1),
    CONSTRAINT stock_parts_bounded CHECK (parts BETWEEN 1 AND 64)
);

-- A delivery of several SKUs has one reference, and its SKUs may live apart: a receipt is booked once
-- per SKU and reference. An older version can book none from here on; the next one can.
ALTER TABLE receipt
    DROP CONSTRAINT receipt_reference_once,
    ADD CONSTRAINT receipt_once UNIQUE (sku, reference);

-- Who booked it: an operator's name, or the program that did.
ALTER TABLE receipt ADD COLUMN actor text NOT NULL DEFAULT 'holdfast';
