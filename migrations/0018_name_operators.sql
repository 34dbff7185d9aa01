-- What operators do to parcels, deliveries and endpoints is recorded by their names, as what they do to
-- money and stock is. Older rows have none.
ALTER TABLE shipment ADD COLUMN actor text;
-- Without, its carrier said so.
ALTER TABLE carrier_event ADD COLUMN actor text;
ALTER TABLE webhook_endpoint ADD COLUMN removed_by text;
-- The last who had it tried again.
ALTER TABLE delivery ADD COLUMN retried_by text;
