//! One module for each command: its arguments, and what it does with them.

pub(crate) mod batch;
pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod gateway;
pub(crate) mod init;
pub(crate) mod keys;
mod listed;
pub(crate) mod models;
pub(crate) mod result;
mod roles;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod submit;
pub(crate) mod tasks;
pub(crate) mod webhooks;
pub(crate) mod worker;
pub(crate) mod workers;
