-- What can be bought. A product is a page; a SKU is the sellable unit on it, with the one price
-- that a checkout sells at.
CREATE TABLE product (
    id text PRIMARY KEY,
    title text NOT NULL,
    brand text NOT NULL,
    category text NOT NULL,
    description text NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT product_id_is_plain CHECK (id ~ '^[a-z0-9-]{1,64}$'),
    CONSTRAINT product_title_is_short CHECK (length(title) BETWEEN 1 AND 200)
);

CREATE TABLE sku (
    sku text PRIMARY KEY,
    product_id text NOT NULL REFERENCES product (id),
    options jsonb NOT NULL DEFAULT '{}',
    price_minor bigint NOT NULL,
    currency text NOT NULL,
    on_sale boolean NOT NULL DEFAULT true,
    CONSTRAINT sku_is_plain CHECK (sku ~ '^[A-Z0-9.-]{1,32}$'),
    CONSTRAINT sku_price_in_range CHECK (price_minor BETWEEN 1 AND 900000000000000),
    CONSTRAINT sku_currency_is_code CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE INDEX sku_product ON sku (product_id);
