#!/bin/sh
# Brings Temporal's two databases to the schema of this image. The databases exist already
# (postgres-init.sql), so the tool needs no right to create any. Safe to run again: a schema that is
# current is left alone, an older one is upgraded.
set -eu

for name in temporal visibility; do
  database=temporal
  [ "$name" = visibility ] && database=temporal_visibility
  set -- --plugin postgres12 --ep "$POSTGRES_SEEDS" -p "$DB_PORT" -u "$POSTGRES_USER" --db "$database"
  temporal-sql-tool "$@" setup-schema -v 0.0
  temporal-sql-tool "$@" update-schema -d "/etc/temporal/schema/postgresql/v12/$name/versioned"
done
