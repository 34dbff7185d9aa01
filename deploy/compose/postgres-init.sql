-- Runs once, when the data volume is empty. Three tenants share one server and nothing else: each has
-- its own role and database, and none may even connect to another's. The card network's ledger in
-- particular must stay out of reach of the shop it judges.
\set ON_ERROR_STOP on
\getenv holdfast_password HOLDFAST_DB_PASSWORD
\getenv paysim_password PAYSIM_DB_PASSWORD
\getenv temporal_password TEMPORAL_DB_PASSWORD

CREATE ROLE holdfast LOGIN PASSWORD :'holdfast_password';
CREATE ROLE paysim LOGIN PASSWORD :'paysim_password';
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';

CREATE DATABASE holdfast OWNER holdfast;
CREATE DATABASE paysim OWNER paysim;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

REVOKE CONNECT ON DATABASE holdfast, paysim, temporal, temporal_visibility FROM PUBLIC;
