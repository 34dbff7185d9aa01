//! The client against a scripted provider on a real socket, and against two that are programs.

mod calls;
mod creation;
mod doubts;
mod fixtures;
mod list;
mod localstripe;
mod paysim;
mod provider;
mod refunds;
mod secrets;
mod settle;
mod webhook;
mod wire;
