//! Who is told of spans, as the usual variables of OpenTelemetry say. Reads the environment, and sends.
//!
//! Told of nobody is the rule: only a collector's address, or `OTEL_TRACES_EXPORTER=otlp`, switches it on. Sampling, the
//! service's name, headers and sizes of batches are read from the environment by OpenTelemetry itself.

use std::{env, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{Tracer, client::Collector};

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const SPOKEN: &str = "http/protobuf";

/// Sends spans to a collector in the background, or does nothing at all.
#[derive(Debug, Default)]
pub struct Export {
    provider: Option<SdkTracerProvider>,
}

/// What the variables come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    on: bool,
    /// What of them cannot be obeyed.
    warnings: Vec<String>,
}

impl Export {
    /// Begins what the environment says, and tells what of that it cannot do. Its requests run on this runtime.
    pub fn from_env(runtime: Handle) -> (Self, Vec<String>) {
        let Wanted { on, mut warnings } = wanted(|name| env::var(name).ok());
        if !on {
            return (Self::default(), warnings);
        }
        match SpanExporter::builder().with_http().with_http_client(Collector::new(runtime)).build() {
            Ok(exporter) => {
                let provider = SdkTracerProvider::builder();
                let provider = provider.with_resource(resource()).with_batch_exporter(exporter).build();
                (Self { provider: Some(provider) }, warnings)
            }
            Err(error) => {
                warnings.push(format!("spans are not exported: {error}"));
                (Self::default(), warnings)
            }
        }
    }

    /// Makes the spans that are sent.
    pub fn tracer(&self) -> Tracer {
        Tracer(self.provider.as_ref().map(|provider| provider.tracer("evhub")))
    }

    /// Sends what is left, for so long at the most; spans that begin after this are lost.
    pub async fn finish(self, within: Duration) {
        let Some(provider) = self.provider else { return };
        // It waits for a thread. What goes wrong has been logged by then, and what ends has nobody else to tell.
        let _ = spawn_blocking(move || provider.shutdown_with_timeout(within)).await;
    }
}

/// Who this is, in every span's resource.
fn resource() -> Resource {
    let named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|all| all.contains("service.name="));
    let builder = Resource::builder();
    if named { builder.build() } else { builder.with_service_name("evhub").build() }
}

/// Whether spans are exported. By OpenTelemetry's rules a value that makes no sense is warned of and ignored.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Wanted {
    let set =
        |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Wanted::default();
    }
    let mut warnings = Vec::new();
    let endpoint = ENDPOINTS.iter().find_map(|name| Some((name, set(name)?)));
    let on = match set("OTEL_TRACES_EXPORTER").as_deref() {
        None => endpoint.is_some(),
        Some("otlp") => true,
        Some("none") => false,
        Some(other) => {
            warnings.push(format!(
                "OTEL_TRACES_EXPORTER: no spans are exported (got {other}, allowed otlp, none)"
            ));
            false
        }
    };
    if !on {
        return Wanted { on, warnings };
    }
    if let Some((name, value)) = PROTOCOLS.iter().find_map(|name| Some((name, set(name)?)))
        && value != SPOKEN
    {
        warnings.push(format!("{name}: spans are exported as {SPOKEN} (got {value}, allowed {SPOKEN})"));
    }
    if let Some((name, value)) = endpoint
        && !value.starts_with("http://")
    {
        warnings.push(format!("{name}: no spans are exported (got {value}, allowed an http URL)"));
        return Wanted { on: false, warnings };
    }
    Wanted { on, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[track_caller]
    fn check(variables: &[(&str, &str)], on: bool, warns_of: &[&str]) {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let wanted = wanted(value);
        assert_eq!(wanted.on, on, "{variables:?}: {wanted:?}");
        let named: Vec<_> = wanted.warnings.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(named, warns_of, "{variables:?}: {wanted:?}");
    }

    #[test]
    fn only_the_usual_variables_switch_it_on() {
        check(&[], false, &[]);
        check(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")], false, &[]);
        check(&[HERE], true, &[]);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")], true, &[]);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false, &[]);
        check(&[("OTEL_TRACES_EXPORTER", "otlp")], true, &[]);
        check(&[HERE, ("OTEL_TRACES_EXPORTER", "none")], false, &[]);
        check(&[HERE, ("OTEL_SDK_DISABLED", "TRUE")], false, &[]);
        check(&[HERE, ("OTEL_SDK_DISABLED", "false")], true, &[]);
    }

    #[test]
    fn what_cannot_be_obeyed_is_told() {
        check(&[HERE, ("OTEL_TRACES_EXPORTER", "zipkin")], false, &["OTEL_TRACES_EXPORTER"]);
        check(&[HERE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], true, &["OTEL_EXPORTER_OTLP_PROTOCOL"]);
        check(&[HERE, ("OTEL_EXPORTER_OTLP_PROTOCOL", SPOKEN)], true, &[]);
        let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
        check(&[https], false, &["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    }
}
