//! The PostgreSQL store against a real server: the promises of the ports, and what happens when the connection goes.

mod away;
mod common;
mod conformance;
mod inbox;
mod parcels;
mod upgrade;
