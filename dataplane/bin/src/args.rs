//! The command line, and what of it makes sense: every problem at once. Reads the file of client settings.

use std::path::{Path, PathBuf};

use clap::Parser;
use evhub_dataplane::{egress::Egress, follow::secure, process::address};
use evhub_kafka::{Connection, Settings};
use evhub_lifecycle::exit::{self, Configuration};
use http::Uri;

/// Takes events, keeps them in Kafka, and delivers each to every service that wants it
///
/// Runs what whoever serves control says (`evhub control DIR`), and goes on without, restarts included: a copy of what runs is
/// kept in --data, and one in Kafka. Any number of these may run; they share the work. The first SIGTERM lets what is under
/// way finish; a second one aborts. Exits 78 where the settings make no sense, and says of each why; 69 where no broker can
/// be used.
#[derive(Debug, Parser)]
#[command(
    name = "evhub-dataplane",
    version,
    after_help = "Try:\n  evhub-dataplane --kafka localhost:9092 --control http://127.0.0.1:8084 --egress-allow 127.0.0.1"
)]
pub(crate) struct Args {
    /// Some of the brokers, with commas between
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: String,
    /// Settings of librdkafka's, a line each as NAME=VALUE: encryption, names and passwords. Read again when it changes. In a
    /// folder each file is one setting, of its name, and each *.properties has several
    #[arg(long, value_name = "FILE|DIR")]
    kafka_config: Option<PathBuf>,
    /// What this process does, with commas between: ingest, dispatch, ledger
    #[arg(long, default_value = "ingest,dispatch,ledger", value_name = "ROLE,…")]
    roles: String,
    /// What heads every topic and group of this installation
    #[arg(long, default_value = "evhub", value_name = "NAME")]
    prefix: String,
    /// How many shards the ledger of timers has; fixed from the first start of the installation on
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: u32,
    /// Where other processes of the installation reach --grpc of this one, to ask what its shards of the ledger decided [default:
    /// the address of --grpc, or this machine's name where that is every address]
    #[arg(long, env = "EVHUB_ADVERTISE", value_name = "HOST:PORT", value_parser = address::parse)]
    advertise: Option<String>,
    /// Who says what to run; without it the last copy runs
    #[arg(long, value_name = "URL")]
    control: Option<String>,
    /// For an https URL of --control: a folder with ca.crt, which signed the operator's certificate, and our own tls.crt and
    /// tls.key, as a Secret of type kubernetes.io/tls is mounted. Read again for every connection, so that they may be rotated
    #[arg(long, value_name = "DIR", requires = "control")]
    control_tls: Option<PathBuf>,
    /// A host or a network that Processors may deliver to by URL, as billing.example.com or 10.0.0.0/8; what a name resolves to
    /// is not looked at. Services need none. May be given again and again
    #[arg(long, value_name = "HOST|CIDR")]
    egress_allow: Vec<String>,
    /// Where the copy of what runs is kept, and what this replica is called. Of no other process
    #[arg(long, default_value = "./.evhub-dataplane", value_name = "DIR")]
    data: PathBuf,
    /// Where applications publish over HTTP
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "HOST:PORT", value_parser = address::parse)]
    http: String,
    /// Where applications publish over gRPC
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "HOST:PORT", value_parser = address::parse)]
    grpc: String,
    /// Where /livez, /readyz, /metrics and /snapshot are
    #[arg(long, default_value = "0.0.0.0:8082", value_name = "HOST:PORT", value_parser = address::parse)]
    admin: String,
    /// Where tools ask; it takes events as well
    #[arg(long, default_value = "127.0.0.1:8083", value_name = "HOST:PORT", value_parser = address::parse)]
    api: String,
}

/// A command line that makes sense.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) kafka: Connection,
    pub(crate) roles: Roles,
    pub(crate) prefix: String,
    pub(crate) shards: u32,
    pub(crate) advertise: Option<String>,
    pub(crate) control: Option<Uri>,
    pub(crate) control_tls: Option<PathBuf>,
    pub(crate) egress: Egress,
    pub(crate) data: PathBuf,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) admin: String,
    pub(crate) api: String,
}

/// What a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// It takes events.
    pub(crate) ingest: bool,
    /// It delivers them.
    pub(crate) dispatch: bool,
    /// It decides what must be decided once.
    pub(crate) ledger: bool,
}

impl Args {
    /// What makes sense, or all that does not.
    pub(crate) fn check(self) -> Result<Checked, Configuration> {
        let Self { kafka, kafka_config, roles, prefix, shards, advertise, egress_allow, .. } = self;
        let (control, control_tls) = (self.control, self.control_tls);
        let (data, http, grpc, admin, api) = (self.data, self.http, self.grpc, self.admin, self.api);
        let mut problems = Vec::new();
        let brokers = brokers(&kafka).unwrap_or_else(|problem| {
            problems.push(problem);
            String::new()
        });
        let roles = self::roles(&roles).unwrap_or_else(|problem| {
            problems.push(problem);
            Roles::default()
        });
        if let Err(problem) = self::prefix(&prefix) {
            problems.push(problem);
        }
        let control = control.as_deref().map(self::control).transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        problems.extend(secured(control.as_ref(), control_tls.as_deref()));
        let mut allowed = Vec::new();
        for text in egress_allow {
            match text.parse() {
                Ok(one) => allowed.push(one),
                Err(problem) => problems.push(format!("--egress-allow: {problem} (got {text:?})")),
            }
        }
        let settings = kafka_config.as_deref().map(client).transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if !problems.is_empty() {
            return Err(Configuration(problems));
        }
        let settings = settings.unwrap_or_default();
        let kafka = Connection { prefix: prefix.clone(), settings, ..Connection::new(brokers) };
        let egress = Egress::Only(allowed);
        Ok(Checked {
            kafka,
            roles,
            prefix,
            shards,
            advertise,
            control,
            control_tls,
            egress,
            data,
            http,
            grpc,
            admin,
            api,
        })
    }
}

fn brokers(text: &str) -> Result<String, String> {
    let all: Vec<&str> = text.split(',').map(str::trim).collect();
    // A URL's host would be looked up as it stands, for as long as brokers are waited for.
    let sound = |one: &str| !one.contains(['/', '@']) && address::parse(one).is_ok();
    match all.iter().find(|one| !sound(one)) {
        Some(wrong) => Err(format!("--kafka: not a broker's address (got {wrong:?}, allowed HOST:PORT)")),
        None => Ok(all.join(",")),
    }
}

fn roles(text: &str) -> Result<Roles, String> {
    let mut roles = Roles::default();
    for role in text.split(',').map(str::trim) {
        match role {
            "ingest" => roles.ingest = true,
            "dispatch" => roles.dispatch = true,
            "ledger" => roles.ledger = true,
            _ => {
                return Err(format!(
                    "--roles: no such role (got {role:?}, allowed ingest, dispatch, ledger)"
                ));
            }
        }
    }
    Ok(roles)
}

/// What may head the names of topics and groups, and leaves room for what follows. A dot ends it: with dots of its own, one
/// installation's names could be another's.
fn prefix(text: &str) -> Result<(), String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(sound) && !text.starts_with("__") {
        return Ok(());
    }
    Err(format!(
        "--prefix: cannot head a topic's name (got {text:?}, allowed letters, digits, - and _, at most 64)"
    ))
}

fn client(path: &Path) -> Result<Settings, String> {
    Settings::read(path).map_err(|problem| format!("--kafka-config: {problem}"))
}

fn control(text: &str) -> Result<Uri, String> {
    let wrong = |what: &str| {
        format!("--control: {what} (got {text:?}, allowed http://HOST:PORT, or https:// with --control-tls)")
    };
    let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err(wrong("names no user"))
        }
        (Some("http" | "https"), Some(_)) if uri.path() == "/" && uri.query().is_none() => Ok(uri),
        (Some("http" | "https"), Some(_)) => Err(wrong("has no path")),
        _ => Err(wrong("not an http URL")),
    }
}

/// What is wrong with the way in which the control stream is secured.
fn secured(control: Option<&Uri>, tls: Option<&Path>) -> Option<String> {
    let is_https = control?.scheme_str() == Some("https");
    match tls {
        None if is_https => Some(
            "--control-tls: an https URL of --control needs it (allowed a folder with certificates)"
                .to_owned(),
        ),
        Some(_) if !is_https => Some("--control-tls: --control is no https URL".to_owned()),
        Some(folder) => {
            secure::check(folder).err().map(|error| format!("--control-tls: {}", exit::line(&error)))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(more: &[&str]) -> Result<Checked, Configuration> {
        Args::try_parse_from(["evhub-dataplane"].iter().chain(more)).unwrap().check()
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn what_makes_sense() {
        let of = |text: &str| roles(text).unwrap();
        assert_eq!(of("ingest, dispatch,ledger"), Roles { ingest: true, dispatch: true, ledger: true });
        assert_eq!(of("dispatch"), Roles { dispatch: true, ..Roles::default() });
        assert_eq!(brokers("a:1, [::1]:2").unwrap(), "a:1,[::1]:2");
        assert!(checked(&["--kafka=a:1", "--control=http://10.0.0.1:8084"]).unwrap().control.is_some());
        assert!(checked(&["--kafka=a:1"]).unwrap().control.is_none());
    }

    #[test]
    fn brokers_have_no_url() {
        for text in ["http://localhost:9092", "kafka://a:1", "a:1,PLAINTEXT://b:2", "a:1/", "me@a:1"] {
            assert!(brokers(text).is_err_and(|problem| problem.contains("allowed HOST:PORT")), "{text}");
        }
    }

    #[test]
    fn every_problem_is_listed() {
        let Configuration(problems) = checked(&[
            "--kafka=localhost",
            "--roles=ingest,scheduler",
            "--prefix=a b",
            "--control=127.0.0.1:8084",
            "--egress-allow=10.0.0.0/33",
            "--kafka-config=/nowhere/at/all",
        ])
        .unwrap_err();
        let begins = [
            "--kafka: not a",
            "--roles: no such role",
            "--prefix: ",
            "--control: not",
            "--egress-allow: ",
            "--kafka-config: ",
        ];
        assert_eq!(problems.len(), begins.len(), "{problems:?}");
        for (problem, begin) in problems.iter().zip(begins) {
            assert!(problem.starts_with(begin), "{problem}");
        }
    }

    #[test]
    fn what_is_no_control_is_refused() {
        for text in ["", "host:1", "ftp://a", "http://", "http://a:1/path", "http://a:1/?q", "http://u@a:1"] {
            assert!(control(text).is_err(), "{text}");
        }
    }
}
