//! How the tool reaches a hub as `kubectl evhub`: it has kubectl forward a port of a dataplane, for as long as it is needed. So
//! the right to forward ports is the right to use tools. Runs processes.

use std::{env, ffi::OsStr, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// What kubectl calls a program of the verb `evhub`.
const PLUGIN: &str = "kubectl-evhub";
/// Pods that have an api listener, whatever the release is called.
const SELECTOR: &str = "app.kubernetes.io/part-of=evhub,app.kubernetes.io/component=dataplane";
/// One line a pod.
const LINES: &str = "jsonpath={range .items[*]}{.metadata.namespace}{\" \"}{.metadata.name}{\" \"}\
    {.metadata.labels.app\\.kubernetes\\.io/instance}{\" \"}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}";
/// The port of the api listener in a pod.
const API: u16 = 8083;
/// An API server that takes longer is as good as gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A forwarded port; it is taken down with this value.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Where it is, as `127.0.0.1:PORT`.
    pub(crate) address: String,
    _kubectl: Child,
}

/// Why no hub of the cluster is reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not run kubectl: is it installed?")]
    Kubectl(#[source] std::io::Error),
    #[error("kubectl {what}: {said}")]
    Refused { what: &'static str, said: String },
    #[error("kubectl {0} does not answer")]
    Late(&'static str),
    #[error("no ready dataplane of evhub {0}: is it installed there, and has it been told what to run?")]
    None(String),
    #[error("evhub is installed several times ({0}): say which with --installation NAMESPACE")]
    Several(String),
}

/// Whether kubectl runs this program as a verb of its own.
pub(crate) fn is_plugin() -> bool {
    env::args_os().next().is_some_and(|name| Path::new(&name).file_stem() == Some(OsStr::new(PLUGIN)))
}

impl Forward {
    /// To a dataplane that is ready: of the installation in that namespace, or of the only one.
    pub(crate) async fn begin(installation: Option<&str>) -> Result<Self, Error> {
        let scope = installation.map_or(vec!["--all-namespaces"], |namespace| vec!["--namespace", namespace]);
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["get", "pods", "--selector", SELECTOR, "--output", LINES]).args(scope);
        let output = late("get pods", kubectl.stdin(Stdio::null()).kill_on_drop(true).output()).await?;
        let output = output.map_err(Error::Kubectl)?;
        if !output.status.success() {
            return Err(Error::Refused { what: "get pods", said: line(&output.stderr) });
        }
        let place = installation.map_or("in the cluster".to_owned(), |namespace| format!("in {namespace}"));
        let pod = choose(&String::from_utf8_lossy(&output.stdout), &place)?;
        Self::to(&pod).await
    }

    async fn to(pod: &Pod) -> Result<Self, Error> {
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["port-forward", "--address=127.0.0.1", "--namespace", &pod.namespace]);
        kubectl.args([format!("pod/{}", pod.name), format!(":{API}")]);
        kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = kubectl.spawn().map_err(Error::Kubectl)?;
        let said = child.stdout.take().expect("the standard output was asked for");
        let mut lines = BufReader::new(said).lines();
        let first = late("port-forward", lines.next_line()).await?.map_err(Error::Kubectl)?;
        let Some(address) = first.as_deref().and_then(forwarded) else {
            let ended = late("port-forward", child.wait_with_output()).await?.map_err(Error::Kubectl)?;
            return Err(Error::Refused { what: "port-forward", said: line(&ended.stderr) });
        };
        // A line for each connection: unread, kubectl would wait for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { address: address.to_owned(), _kubectl: child })
    }
}

async fn late<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T, Error> {
    timeout(PATIENCE, work).await.map_err(|_| Error::Late(what))
}

/// A pod, and which installation it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    namespace: String,
    name: String,
}

/// A ready pod of the only installation.
fn choose(lines: &str, place: &str) -> Result<Pod, Error> {
    let (mut installations, mut chosen) = (Vec::new(), None);
    for line in lines.lines() {
        let [namespace, name, instance, ready] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let installation = format!("{namespace}/{instance}");
        if !installations.contains(&installation) {
            installations.push(installation);
        }
        if ready == "True" && chosen.is_none() {
            chosen = Some(Pod { namespace: namespace.to_owned(), name: name.to_owned() });
        }
    }
    if installations.len() > 1 {
        return Err(Error::Several(installations.join(", ")));
    }
    chosen.ok_or_else(|| Error::None(place.to_owned()))
}

/// The address in `Forwarding from 127.0.0.1:PORT -> 8083`.
fn forwarded(line: &str) -> Option<&str> {
    line.strip_prefix("Forwarding from ")?.split(" -> ").next()
}

/// What a program complains of, in one line.
fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_pod_of_the_only_installation_is_chosen() {
        let pod = choose("evhub a hub False\nevhub b hub True\nevhub c hub \n", "").unwrap();
        assert_eq!(pod, Pod { namespace: "evhub".into(), name: "b".into() });
        assert!(matches!(choose("", "there"), Err(Error::None(place)) if place == "there"));
        assert!(matches!(choose("evhub a hub False\n", ""), Err(Error::None(_))));
        let several = choose("one a hub True\ntwo b hub True\n", "").unwrap_err().to_string();
        assert!(several.contains("one/hub, two/hub"), "{several}");
    }

    #[test]
    fn what_kubectl_says_of_a_port_is_understood() {
        assert_eq!(forwarded("Forwarding from 127.0.0.1:40123 -> 8083"), Some("127.0.0.1:40123"));
        assert_eq!(forwarded("error: no"), None);
    }
}
