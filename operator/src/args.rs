//! The command line, and what of it makes sense: every problem at once.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use evhub_compile::{Apps, Egress, Grant, Log, Secrets, Services, Settings};
use evhub_control::Security;
use evhub_lifecycle::exit::{self, Configuration};
use evhub_routing::egress::Allowed;
use http::Uri;

use crate::certificates::Making;

/// Makes the Producers and Processors of a cluster run, and tells in their status what became of them
///
/// Watches an API server, decides what dataplanes are to run, serves it to every `evhub-dataplane` that follows, and writes
/// the status of each resource as they say that they run it. Of several one leads, by a Lease; the others wait. Dataplanes go
/// on without any, restarts included. In a cluster it is whoever its service account says; elsewhere a kubeconfig is used
/// (KUBECONFIG, or ~/.kube/config). The first SIGTERM gives the Lease back; a second one aborts. Exits 78 where the settings make
/// no sense, and says of each why; 69 where no API server can be used.
#[derive(Debug, Parser)]
#[command(
    name = "evhub-operator",
    version,
    after_help = "Try:\n  evhub-operator --listen 127.0.0.1:8084 --admin 127.0.0.1:8085 --allow-topics 'shop=shop.*'"
)]
pub struct Args {
    /// What heads every topic and group of this installation; the dataplanes' own --prefix must be the same
    #[arg(long, default_value = "evhub", value_name = "NAME")]
    prefix: String,
    /// Look at this namespace alone. May be given again and again; without it all are looked at
    #[arg(long, value_name = "NAMESPACE")]
    watch_namespace: Vec<String>,
    /// Topics of their own that the Producers of a namespace may bring, as shop=shop.orders or shop=shop.*. May be given again
    /// and again
    #[arg(long, value_name = "NAMESPACE=TOPIC")]
    allow_topics: Vec<String>,
    /// Applications of EvHub's beside its own name that the Producers of a namespace may be of, as shop=store or *=legacy-*. May
    /// be given again and again
    #[arg(long, value_name = "NAMESPACE=ID")]
    allow_app_id: Vec<String>,
    /// A host or a network that Processors may deliver to by URL, as billing.example.com or 10.0.0.0/8; what a name resolves to
    /// is not looked at. Services need none. Dataplanes decide as well, by their own --egress-allow. May be given again and
    /// again
    #[arg(long, value_name = "HOST|CIDR")]
    egress_allow: Vec<String>,
    /// Where applications publish, as `http://evhub.evhub-system.svc:8080`: heads the address in the status of Producers
    #[arg(long, value_name = "URL")]
    publish_url: Option<String>,
    /// How often everything is listed anew, whatever watches told: what a watch lost is found again then
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    relist: evhub_crds::Duration,
    /// The namespace of the Lease; that of this process's service account, or of the kubeconfig, if it is not given
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// The name of the Lease by which one of several operators leads
    #[arg(long, default_value = "evhub-operator", value_name = "NAME")]
    lease: String,
    /// Where dataplanes follow, while this operator leads
    #[arg(long, default_value = "0.0.0.0:8084", value_name = "HOST:PORT")]
    listen: String,
    /// Let nobody follow but who shows a certificate: a folder with ca.crt, which signs them, and our own tls.crt and tls.key, as
    /// a Secret of type kubernetes.io/tls is mounted. Read again for every connection, so that they may be rotated. Without it
    /// there is neither a password nor encryption on the control stream, which tells what targets are sent, credentials included
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Make the certificates of --tls, for the host by which dataplanes reach this operator, as
    /// evhub-operator.evhub-system.svc, and renew them: 90 days are used for 60. They are kept in the two Secrets that are named
    /// beside this, in the namespace of the Lease; ours are written to the folder of --tls
    #[arg(long, value_name = "HOST", requires_all = ["tls", "operator_secret", "dataplane_secret"])]
    make_certificates: Option<String>,
    /// Which Secret our certificate is in, and the key of the authority: with --make-certificates
    #[arg(long, value_name = "NAME")]
    operator_secret: Option<String>,
    /// Which Secret the certificate of dataplanes is in, for them to mount: with --make-certificates
    #[arg(long, value_name = "NAME")]
    dataplane_secret: Option<String>,
    /// Where /livez, /readyz and /metrics are
    #[arg(long, default_value = "0.0.0.0:8082", value_name = "HOST:PORT")]
    admin: String,
}

/// A command line that makes sense.
#[derive(Debug)]
pub struct Checked {
    /// What the administrator decided.
    pub settings: Settings,
    /// Which namespaces are looked at; empty is all.
    pub namespaces: Vec<String>,
    /// How often everything is listed anew.
    pub relist: Duration,
    /// Where applications publish.
    pub publish: Option<String>,
    /// The namespace of the Lease.
    pub lease_namespace: Option<String>,
    /// The name of the Lease.
    pub lease: String,
    /// Where dataplanes follow.
    pub listen: String,
    /// Which of those who reach it may.
    pub security: Security,
    /// The certificates that are made, if any are.
    pub making: Option<Making>,
    /// Where it is told how this process is.
    pub admin: String,
}

/// How long a stop waits for the listeners.
pub const GRACE: Duration = Duration::from_secs(5);

impl Args {
    /// What makes sense, or all that does not.
    pub fn check(self) -> Result<Checked, Configuration> {
        let Self { prefix, watch_namespace, allow_topics, allow_app_id, egress_allow, publish_url, .. } =
            self;
        let mut problems = Vec::new();
        if !is_prefix(&prefix) {
            problems.push(format!(
                "--prefix: cannot head a topic's name (got {prefix:?}, allowed letters, digits, - and _, at most 64)"
            ));
        }
        let topics = parsed::<Grant>("--allow-topics", &allow_topics, &mut problems);
        let apps = parsed::<Grant>("--allow-app-id", &allow_app_id, &mut problems);
        let egress = parsed::<Allowed>("--egress-allow", &egress_allow, &mut problems);
        for namespace in &watch_namespace {
            if !evhub_crds::rules::is_dns_label(namespace) {
                problems.push(format!("--watch-namespace: no namespace's name (got {namespace:?})"));
            }
        }
        let publish = publish_url.map(|url| published(&url)).transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let secrets = self.operator_secret.zip(self.dataplane_secret);
        let making = self.make_certificates.zip(self.tls.clone()).zip(secrets);
        let making = making.map(|((host, folder), (ours, theirs))| Making { host, ours, theirs, folder });
        let security = self.tls.map_or(Security::Open, Security::Mutual);
        // Those that are made are not there yet.
        if making.is_none()
            && let Err(problem) = security.check()
        {
            problems.push(format!("--tls: {}", exit::line(&problem)));
        }
        if !problems.is_empty() {
            return Err(Configuration(problems));
        }
        let settings = Settings {
            prefix,
            egress: Egress::Only(egress),
            apps: Apps::Granted(apps),
            // Those that there are, as soon as they are known.
            services: Services::Cluster(std::sync::Arc::default()),
            secrets: Secrets::Known(std::sync::Arc::default()),
            log: Log::Kafka(topics),
        };
        Ok(Checked {
            settings,
            namespaces: watch_namespace,
            relist: self.relist.get(),
            publish,
            lease_namespace: self.lease_namespace,
            lease: self.lease,
            listen: self.listen,
            security,
            making,
            admin: self.admin,
        })
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    flag: &str,
    texts: &[String],
    problems: &mut Vec<String>,
) -> Vec<T> {
    let mut all = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(one) => all.push(one),
            Err(problem) => problems.push(format!("{flag}: {problem} (got {text:?})")),
        }
    }
    all
}

/// What may head the names of topics and groups, as dataplanes have it.
fn is_prefix(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= 64 && text.chars().all(sound) && !text.starts_with("__")
}

fn published(text: &str) -> Result<String, String> {
    let uri: Result<Uri, _> = text.parse();
    let is_sound = uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    });
    if is_sound {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(format!("--publish-url: no URL to publish at (got {text:?}, allowed http://HOST:PORT)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn every_problem_is_listed() {
        let args = [
            "evhub-operator",
            "--prefix=a b",
            "--allow-topics=shop",
            "--allow-app-id=shop=",
            "--egress-allow=10.0.0.0/33",
            "--watch-namespace=Shop",
            "--publish-url=evhub:8080",
        ];
        let Configuration(problems) = Args::try_parse_from(args).unwrap().check().unwrap_err();
        let begins = [
            "--prefix: ",
            "--allow-topics: ",
            "--allow-app-id: ",
            "--egress-allow: ",
            "--watch-namespace: ",
            "--publish-url: ",
        ];
        assert_eq!(problems.len(), begins.len(), "{problems:?}");
        for (problem, begin) in problems.iter().zip(begins) {
            assert!(problem.starts_with(begin), "{problem}");
        }
    }

    #[test]
    fn a_publish_url_heads_addresses() {
        assert_eq!(published("http://evhub:8080/"), Ok("http://evhub:8080".to_owned()));
    }
}
