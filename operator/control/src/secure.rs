//! Who may follow: with TLS, whoever shows a certificate of our own authority, and nobody else. I/O.
//!
//! The three files are those of a Secret of type `kubernetes.io/tls`, and are looked at again for every connection: what was
//! rotated counts from the next one on. While they make no sense, nobody new is let in; who is connected stays.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use evhub_certificates::Certificates;
pub use evhub_certificates::Unusable;
use evhub_lifecycle::Drain;
use futures_util::{Stream, stream::unfold};
use rustls::{ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// Who may follow.
#[derive(Clone, Debug)]
pub enum Security {
    /// Whoever reaches the listener.
    Open,
    /// Whoever shows a certificate that the authority in this folder signed: `ca.crt`, beside our own `tls.crt` and `tls.key`.
    Mutual(PathBuf),
}

/// How many may be greeting us at once; more wait.
const GREETING: usize = 64;
/// How long a greeting may take.
const GREETS: Duration = Duration::from_secs(10);
/// How long accepting pauses after an error such as too many open files, which only time mends.
const PAUSE: Duration = Duration::from_millis(50);

impl Security {
    /// Whether the files make sense now.
    pub fn check(&self) -> Result<(), Unusable> {
        match self {
            Self::Open => Ok(()),
            Self::Mutual(folder) => acceptor(folder).map(drop),
        }
    }
}

/// The connections of those who may follow, until the drain begins.
pub(crate) fn incoming(
    listener: TcpListener,
    security: Security,
    drain: Drain,
) -> impl Stream<Item = io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(GREETING);
    tokio::spawn(async move {
        tokio::select! {
            () = drain.begun() => {}
            () = accept(listener, security, sender) => {}
        }
    });
    unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) })
}

async fn accept(listener: TcpListener, security: Security, sender: mpsc::Sender<Connection>) {
    let greeting = Arc::new(Semaphore::new(GREETING));
    let mut trouble = None;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(error = error.to_string(), "cannot accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        // Without it an answer may wait for the one before it to be acknowledged.
        let _ = stream.set_nodelay(true);
        let Security::Mutual(folder) = &security else {
            if sender.send(Connection::Plain(stream)).await.is_err() {
                return;
            }
            continue;
        };
        let acceptor = match acceptor(folder) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                let problem = evhub_lifecycle::exit::line(&error);
                if trouble.as_ref() != Some(&problem) {
                    warn!(problem, "no dataplane is let in: the certificates make no sense");
                    trouble = Some(problem);
                }
                continue;
            }
        };
        trouble = None;
        let Ok(seat) = Arc::clone(&greeting).acquire_owned().await else { return };
        let sender = sender.clone();
        tokio::spawn(async move {
            match timeout(GREETS, acceptor.accept(stream)).await {
                // Nobody takes it only when nobody is served any more.
                Ok(Ok(stream)) => drop(sender.send(Connection::Secure(Box::new(stream))).await),
                Ok(Err(error)) => {
                    warn!(error = error.to_string(), "somebody who may not follow is turned away");
                }
                Err(_) => debug!("somebody connected and said nothing"),
            }
            drop(seat);
        });
    }
}

fn acceptor(folder: &Path) -> Result<TlsAcceptor, Unusable> {
    let unfit = |error: &(dyn std::error::Error + 'static)| Unusable::unfit(folder, error);
    let Certificates { roots, chain, key } = Certificates::read(folder)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unfit(&error))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| unfit(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A connection of somebody who may follow.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Secure(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
