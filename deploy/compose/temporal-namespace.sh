#!/bin/sh
# Ensures the namespace and the search attributes checkouts carry; a workflow that sets an attribute
# nobody registered never gets past its first task. Safe to run again.
set -eu

# A new namespace reaches the server's caches a few seconds after it is created, hence the retries.
attempt() {
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "$@" && return 0; sleep 2; done
  echo "gave up: $*" >&2
  return 1
}
ensure_namespace() {
  temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
}

attempt ensure_namespace
attempt temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" \
  --name CheckoutState --type Keyword --name OrderId --type Keyword \
  --name CustomerId --type Keyword --name FailureReason --type Keyword \
  --name AmountMinor --type Int --name HoldExpiresAt --type Datetime \
  --name FulfilmentState --type Keyword --name RefundState --type Keyword
