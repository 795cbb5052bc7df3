//! Callbacks: what the outbox holds, on its way to the addresses that submitters gave.
//!
//! ```text
//!   outbox --lease--> [Sender] --body--> [Courier: address refused? sign, connect to the checked address, post] ---> receiver
//!      ^                  |  room for each host, patience with those that fail
//!      +----- settle -----+----- policy: delivered, again then, given up, gone
//! ```
//!
//! Signatures and headers are those of Standard Webhooks. What decides is pure: [`secret`] signs, [`guard`] says which
//! addresses are refused, [`policy`] what becomes of a try. Around it a thin shell does the network and the waiting.
//!
//! What must not happen here: waiting for a receiver while anything else waits for us; following a redirect; connecting to
//! an address that was not checked; reading more of an answer than it takes to tell.

mod courier;
pub mod guard;
mod hosts;
pub mod message;
pub mod policy;
mod post;
pub mod secret;
mod sender;

pub use courier::{Courier, Reply, Resolve, TRY_TIMEOUT, Trouble, Words};
pub use guard::Guard;
pub use ipnet::IpNet;
pub use policy::{Policy, Verdict};
pub use secret::{BadSecret, Keys, Secret};
pub use sender::{Outcome, Sender, Tally, Writer};
