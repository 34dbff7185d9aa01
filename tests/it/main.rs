//! Every test of the whole shop, in one binary: it links once.

mod admin;
mod buying;
mod carriers;
mod cart;
mod contention;
mod crash;
mod expiry;
mod faults;
mod fields;
mod fulfilment;
mod grpc;
mod idempotency;
mod input;
mod late;
mod paying;
mod refunds;
mod replay;
mod saga;
mod shards;
mod shipping;
mod stock;
mod storm;
mod sweeper;
mod watching;
mod webhooks;
mod wire;
