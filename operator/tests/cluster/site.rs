//! One control plane for all tests of this program, and for each a namespace and operators of its own.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_cluster::{ControlPlane, Options};
use evhub_crds::Kind;
use evhub_operator::watch;
use k8s_openapi::api::core::v1::Namespace;
use kube_client::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Far longer than anything takes, on however busy a machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The control plane. It ends with this program.
pub(crate) fn control_plane() -> &'static Mutex<ControlPlane> {
    static PLANE: OnceLock<Mutex<ControlPlane>> = OnceLock::new();
    PLANE.get_or_init(|| {
        let folder = env::temp_dir().join(format!("evhub-operator-{}", std::process::id()));
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
        let options = Options { folder, first: vec![crds], controllers: false };
        Mutex::new(
            ControlPlane::start(&options).unwrap_or_else(|error| panic!("no control plane: {error:#}")),
        )
    })
}

pub(crate) async fn client() -> Client {
    let kubeconfig =
        tokio::task::spawn_blocking(|| control_plane().lock().unwrap().kubeconfig()).await.unwrap();
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A namespace, and operators that look at it alone.
pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) folder: TempDir,
    kubeconfig: PathBuf,
    started: AtomicU32,
}

/// A process that ends with this value.
pub(crate) struct Operator {
    child: Child,
    log: PathBuf,
}

impl Site {
    pub(crate) async fn new(name: &str) -> Self {
        let client = client().await;
        let namespace = format!("{name}-{:06x}", fastrand::u32(..1 << 24));
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let kubeconfig = control_plane().lock().unwrap().kubeconfig();
        let folder = TempDir::new().unwrap();
        Self { client, namespace, folder, kubeconfig, started: AtomicU32::new(0) }
    }

    /// An operator of this namespace, with more on its command line.
    pub(crate) fn operator(&self, more: &[&str]) -> Operator {
        self.operator_with(&self.kubeconfig, more)
    }

    /// The same, which reaches the API server as this file says.
    pub(crate) fn operator_with(&self, kubeconfig: &Path, more: &[&str]) -> Operator {
        let log = self.folder.path().join(format!("operator-{}.log", self.started.fetch_add(1, Relaxed)));
        let file = fs::File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evhub-operator"));
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--watch-namespace",
            &self.namespace,
        ]);
        command.args(["--lease-namespace", &self.namespace]).args(more).env("KUBECONFIG", kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Operator { child: command.spawn().unwrap(), log }
    }

    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        watch::ours(self.client.clone(), kind, Some(&self.namespace))
    }

    /// Applies a spec, as its author.
    pub(crate) async fn apply(&self, kind: Kind, name: &str, spec: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "evhub.dev/v1alpha1",
            "kind": kind.as_str(),
            "metadata": { "name": name },
            "spec": spec,
        });
        self.api(kind)
            .patch(name, &PatchParams::apply("author").force(), &Patch::Apply(object))
            .await
            .unwrap()
    }

    /// Creates an object, or says why the API server does not take it.
    pub(crate) async fn create(&self, kind: Kind, name: &str, spec: &Value) -> Result<(), String> {
        let object = json!({
            "apiVersion": "evhub.dev/v1alpha1",
            "kind": kind.as_str(),
            "metadata": { "name": name },
            "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let created = self.api(kind).create(&PostParams::default(), &object).await;
        created.map(drop).map_err(|error| error.to_string())
    }

    pub(crate) async fn delete(&self, kind: Kind, name: &str) {
        self.api(kind).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Nobody leads, as if everybody had waited for long.
    pub(crate) async fn forget_leader(&self) {
        let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let free = json!({ "spec": { "holderIdentity": null } });
        leases.patch("evhub-operator", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    }

    /// Says whether somebody is ready behind a Service: no controllers run here that would.
    pub(crate) async fn endpoint(&self, service: &str, ready: bool) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": format!("{service}-1"), "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.1.2.3"], "conditions": { "ready": ready } }],
        });
        let api: Api<k8s_openapi::api::discovery::v1::EndpointSlice> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let name = format!("{service}-1");
        api.patch(&name, &PatchParams::apply("author").force(), &Patch::Apply(slice)).await.unwrap();
    }

    /// A Service with one port of this name and number, and somebody behind it.
    pub(crate) async fn service(&self, name: &str, port: &str, number: u16) {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name },
            "spec": { "ports": [{ "name": port, "port": number }] },
        });
        let api: Api<k8s_openapi::api::core::v1::Service> =
            Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(name, &PatchParams::apply("author").force(), &Patch::Apply(service)).await.unwrap();
        self.endpoint(name, true).await;
    }

    pub(crate) async fn get(&self, kind: Kind, name: &str) -> DynamicObject {
        self.api(kind).get(name).await.unwrap()
    }

    /// Waits until a condition is like this.
    #[track_caller]
    pub(crate) fn until<'a>(
        &'a self,
        by: &'a Operator,
        kind: Kind,
        name: &'a str,
        type_: &'a str,
        expected: &'a str,
    ) -> impl Future<Output = DynamicObject> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let since = Instant::now();
            loop {
                let object = self.get(kind, name).await;
                if condition(&object, type_).as_deref() == Some(expected) {
                    return object;
                }
                assert!(
                    since.elapsed() < PATIENCE,
                    "{at}: waited in vain until {kind} {name} has {type_}={expected}; its status is {}\nthe log:\n{}",
                    object.data["status"],
                    by.log()
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A condition as `STATUS REASON`, if it is of the object's own generation.
pub(crate) fn condition(object: &DynamicObject, type_: &str) -> Option<String> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|one| one["type"] == type_)?;
    let is_current = found["observedGeneration"].as_i64() == object.metadata.generation;
    let text = format!("{} {}", found["status"].as_str()?, found["reason"].as_str()?);
    is_current.then_some(text)
}

impl Operator {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The lines of its log with this message.
    pub(crate) fn said(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// Waits for a line of its log.
    pub(crate) async fn says(&self, message: &str) -> Value {
        self.holds(message, || !self.said(message).is_empty()).await;
        self.said(message).pop().unwrap()
    }

    pub(crate) async fn holds(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < PATIENCE, "waited in vain until {what}; the log:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where dataplanes follow it, once it leads.
    pub(crate) async fn control(&self) -> SocketAddr {
        self.says("serving the control stream").await["listen"].as_str().unwrap().parse().unwrap()
    }

    /// A figure of its metrics.
    pub(crate) async fn figure(&self, name: &str) -> u64 {
        let at: SocketAddr = self.says("listening").await["admin"].as_str().unwrap().parse().unwrap();
        let page = tokio::task::spawn_blocking(move || get(at, "/metrics")).await.unwrap();
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits until it has ended.
    pub(crate) async fn stop(&mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < PATIENCE, "it does not end; the log:\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops its process where it is, or lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(at: SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn producer(partitions: u32) -> Value {
    json!({ "topic": { "partitions": partitions, "replicas": 1, "minInSyncReplicas": 1 } })
}

pub(crate) fn processor(producer: &str, service: &str) -> Value {
    json!({ "producers": [{ "name": producer }], "target": { "service": { "name": service, "port": "http" } } })
}
