//! How clients' connections are treated: options of what serves them.

use std::time::Duration;

use clap::Args;

use crate::proxy::server::ServerSettings;

/// Options about clients' connections.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(super) struct ConnectionOptions {
    /// How long a client may take nothing of an answer that waits for it, in seconds: then it is cut off
    #[arg(long, value_name = "SECONDS", default_value_t = 60, env = "HEARTHGATE_ANSWER_IDLE",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    answer_idle: u64,
}

impl ConnectionOptions {
    pub(super) fn settings(self) -> ServerSettings {
        ServerSettings { answer_idle: Duration::from_secs(self.answer_idle), ..ServerSettings::default() }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        connections: ConnectionOptions,
    }

    fn settings(arguments: &[&str]) -> Option<ServerSettings> {
        let arguments = ["hearthgate"].iter().chain(arguments);
        Command::try_parse_from(arguments).ok().map(|command| command.connections.settings())
    }

    #[test]
    fn connections_are_treated_as_the_server_does_unless_it_is_told_otherwise() {
        assert_eq!(settings(&[]), Some(ServerSettings::default()));
        let patient = ServerSettings { answer_idle: Duration::from_mins(10), ..ServerSettings::default() };
        assert_eq!(settings(&["--answer-idle", "600"]), Some(patient));
        assert_eq!((settings(&["--answer-idle", "0"]), settings(&["--answer-idle", "3601"])), (None, None));
    }
}
