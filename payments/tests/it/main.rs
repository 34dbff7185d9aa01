//! The client against a scripted provider on a real socket.

mod calls;
mod doubts;
mod fixtures;
mod list;
mod provider;
mod refunds;
mod secrets;
mod settle;
mod webhook;
