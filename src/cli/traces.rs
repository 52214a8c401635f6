//! Traces: options, and starting and ending the export.

use clap::Args;

use crate::proxy::trace::{Traces, TracesError};

/// Options about traces.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Traces")]
pub(super) struct TraceOptions {
    /// Export traces to this collector, by OTLP over http, such as http://localhost:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

impl TraceOptions {
    /// Starts the export, if there is to be one.
    pub(super) fn start(&self) -> Result<Option<Traces>, TracesError> {
        let endpoint = self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        endpoint.map(Traces::export_to).transpose()
    }
}

/// Sends the last spans.
pub(super) async fn finish(traces: Option<Traces>) {
    if let Some(traces) = traces {
        // It has ended, whether it could send them or not.
        let _ = tokio::task::spawn_blocking(move || traces.finish()).await;
    }
}
