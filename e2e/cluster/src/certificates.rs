//! Throw-away certificates, and kubeconfigs that hold them, made by openssl. Does I/O.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::nodes::API_SERVICE;

/// Whoever may do anything.
pub(crate) const ADMIN: &str = "admin";
/// The controller manager.
pub(crate) const CONTROLLERS: &str = "controllers";
/// The API server, where it asks kubelets.
pub(crate) const KUBELETS: &str = "kubelets";

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
const NAMES: &str = "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
    DNS:kubernetes.default.svc.cluster.local";
const CLIENT: &str = "extendedKeyUsage=clientAuth";

/// Makes all that the parts name, for an API server at an address.
pub(crate) fn make(folder: &Path, host: Ipv4Addr, port: u16) -> Result<()> {
    let pki = folder.join("pki");
    fs::create_dir_all(&pki).with_context(|| format!("make {}", pki.display()))?;
    openssl(&pki, &format!("req -x509 {KEY} -keyout ca.key -out ca.crt -days 30 -subj /CN=test-authority"))?;
    openssl(&pki, "ecparam -name prime256v1 -genkey -noout -out sa.key")?;
    openssl(&pki, "ec -in sa.key -pubout -out sa.pub")?;
    let addresses = format!("subjectAltName=IP:127.0.0.1,IP:{host},IP:{API_SERVICE},{NAMES}");
    leaf(&pki, "apiserver", "/CN=kube-apiserver", &addresses)?;
    leaf(&pki, KUBELETS, "/O=system:masters/CN=kube-apiserver-kubelet-client", CLIENT)?;
    client(folder, host, port, ADMIN, "/O=system:masters/CN=admin")?;
    client(folder, host, port, CONTROLLERS, "/CN=system:kube-controller-manager")
}

/// Makes a certificate for a client, and a kubeconfig that holds it.
pub(crate) fn client(folder: &Path, host: Ipv4Addr, port: u16, name: &str, subject: &str) -> Result<()> {
    let pki = folder.join("pki");
    leaf(&pki, name, subject, CLIENT)?;
    fs::write(kubeconfig(folder, name), text(&pki, name, host, port)).context("write a kubeconfig")
}

/// Makes a node's certificate, by which it is a client of the API server and a server at its address.
pub(crate) fn node(folder: &Path, host: Ipv4Addr, port: u16, name: &str, address: Ipv4Addr) -> Result<()> {
    let pki = folder.join("pki");
    let subject = format!("/O=system:nodes/CN=system:node:{name}");
    leaf(&pki, name, &subject, &format!("subjectAltName=IP:{address},DNS:{name}"))?;
    fs::write(kubeconfig(folder, name), text(&pki, name, host, port)).context("write a node's kubeconfig")
}

/// Where the kubeconfig of one of them is.
pub(crate) fn kubeconfig(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.conf"))
}

fn text(pki: &Path, name: &str, host: Ipv4Addr, port: u16) -> String {
    let file = |name: String| pki.join(name).display().to_string();
    let (authority, certificate, key) =
        (file("ca.crt".to_owned()), file(format!("{name}.crt")), file(format!("{name}.key")));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{ name: test, cluster: {{ server: 'https://{host}:{port}', certificate-authority: '{authority}' }} }}]\n\
         users: [{{ name: {name}, user: {{ client-certificate: '{certificate}', client-key: '{key}' }} }}]\n\
         contexts: [{{ name: test, context: {{ cluster: test, user: {name} }} }}]\n"
    )
}

fn leaf(pki: &Path, name: &str, subject: &str, extension: &str) -> Result<()> {
    let extensions = format!("basicConstraints=critical,CA:FALSE\n{extension}\n");
    fs::write(pki.join(format!("{name}.ext")), extensions).context("write a certificate's extensions")?;
    openssl(pki, &format!("req -new {KEY} -keyout {name}.key -out {name}.csr -subj {subject}"))?;
    openssl(
        pki,
        &format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out {name}.crt -extfile {name}.ext"
        ),
    )
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    let output = command.output().context("run openssl: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {arguments}: {said}");
    Ok(())
}
