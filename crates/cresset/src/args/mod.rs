//! What the arguments of several commands have in common, and how a client command is run. It knows no command.

pub(crate) mod settings;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::client::{ApiKey, Client, Target};
use crate::exit::{Exit, Trouble};

/// Which server a client command talks to.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's address: http://, https://, or unix: and the path of a socket
    #[arg(long, env = "CRESSET_URL", hide_env_values = true, default_value = crate::client::DEFAULT_URL)]
    #[arg(value_name = "URL", help_heading = "Server")]
    pub(crate) url: Target,
    /// The API key, for a server that needs one; better in the variable CRESSET_KEY, as other users of the machine see the
    /// arguments of a command
    #[arg(long, env = "CRESSET_KEY", hide_env_values = true)]
    #[arg(value_name = "KEY", help_heading = "Server")]
    key: Option<ApiKey>,
    /// A PEM file with who signed the server's certificate; whom this machine trusts if not given
    #[arg(
        long,
        env = "CRESSET_CA",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Server"
    )]
    ca: Option<PathBuf>,
}

impl ServerArgs {
    /// A client for it.
    pub(crate) fn client(&self) -> Result<Client, Trouble> {
        Client::new(&self.url, self.key.as_ref(), self.ca.as_deref())
    }
}

/// Whether, and how long, to wait for a task's end.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the task has ended, at most TIMEOUT if given (such as 30s); exits 124 when that runs out
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "forever")]
    #[arg(value_parser = wait_limit)]
    wait: Option<WaitLimit>,
}

/// The limit of `--wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitLimit {
    Forever,
    For(Duration),
}

impl WaitArgs {
    /// `None`: do not wait. `Some(None)`: wait as long as it takes.
    pub(crate) fn limit(&self) -> Option<Option<Duration>> {
        match self.wait {
            None => None,
            Some(WaitLimit::Forever) => Some(None),
            Some(WaitLimit::For(limit)) => Some(Some(limit)),
        }
    }
}

fn wait_limit(text: &str) -> Result<WaitLimit, String> {
    match text {
        "forever" => Ok(WaitLimit::Forever),
        text => duration(text).map(WaitLimit::For),
    }
}

/// `30s`, `1.5h`, `250ms`: as in the settings.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    cresset_config::parse_duration(text)
        .ok_or_else(|| "write a number and a unit (ms, s, m, h, d), such as 30s".to_owned())
}

/// Runs a client command's future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot start the runtime: {error}")))?;
    let end = runtime.block_on(future);
    // A read of stdin that never comes back must not keep us.
    runtime.shutdown_background();
    end
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn wait_takes_nothing_or_a_duration() {
        #[derive(Parser)]
        struct Probe {
            #[command(flatten)]
            wait: WaitArgs,
        }
        let limit = |args: &[&str]| {
            Probe::try_parse_from(["probe"].iter().chain(args)).map(|probe| probe.wait.limit())
        };
        assert_eq!(limit(&[]).unwrap(), None);
        assert_eq!(limit(&["--wait"]).unwrap(), Some(None));
        assert_eq!(
            limit(&["--wait=250ms"]).unwrap(),
            Some(Some(Duration::from_millis(250)))
        );
        assert!(limit(&["--wait=5"]).is_err());
    }
}
