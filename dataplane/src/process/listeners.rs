//! The four addresses of a hub, taken all or none, and what is served at each. I/O.

use std::{io, net::SocketAddr};

use evhub_journal::Journal;
use evhub_lifecycle::{Drain, exit::Configuration};
use tokio::net::TcpListener;

use super::Parts;
use crate::{
    Hub, admin, api,
    egress::Tools,
    grpc, ingest,
    server::{self, BindError, Limits},
};

/// Where to listen, each as `HOST:PORT`.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    /// Publishing over HTTP; nowhere for a process that takes no events.
    pub http: Option<&'a str>,
    /// Publishing over gRPC, likewise.
    pub grpc: Option<&'a str>,
    /// For those who watch over the process.
    pub admin: &'a str,
    /// For tools.
    pub api: &'a str,
}

/// The addresses that were asked for, taken.
#[derive(Debug)]
pub struct Listeners {
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    admin: TcpListener,
    api: TcpListener,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// For `--http`, if anywhere.
    pub http: Option<SocketAddr>,
    /// For `--grpc`, if anywhere.
    pub grpc: Option<SocketAddr>,
    /// For `--admin`.
    pub admin: SocketAddr,
    /// For `--api`.
    pub api: SocketAddr,
}

impl Listeners {
    /// Takes the addresses, or says what is wrong with each that cannot be taken.
    pub async fn bind(addresses: Addresses<'_>) -> Result<Self, Configuration> {
        let Addresses { http, grpc, admin, api } = addresses;
        let (http, grpc, admin, api) = tokio::join!(
            bind("--http", http),
            bind("--grpc", grpc),
            server::bind("--admin", admin),
            server::bind("--api", api),
        );
        match (http, grpc, admin, api) {
            (Ok(http), Ok(grpc), Ok(admin), Ok(api)) => Ok(Self { http, grpc, admin, api }),
            (http, grpc, admin, api) => {
                let failed = [http.err(), grpc.err(), admin.err(), api.err()].into_iter().flatten();
                Err(Configuration(failed.map(|error| error.problem()).collect()))
            }
        }
    }

    /// The addresses as they came to be.
    pub fn addresses(&self) -> io::Result<Bound> {
        let of = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Bound {
            http: of(&self.http)?,
            grpc: of(&self.grpc)?,
            admin: self.admin.local_addr()?,
            api: self.api.local_addr()?,
        })
    }

    /// Serves all four until the drain begins; the admin listener until the last thing has ended.
    pub(super) fn serve<J: Journal>(
        self,
        files: u64,
        hub: &Hub<J>,
        drain: &Drain,
        lasting: &Drain,
        parts: &mut Parts,
    ) {
        let limits = Limits::default().within(files);
        let serve = |name, listener, router, until: &Drain| {
            server::serve(name, listener, router, limits, hub.meters.clone(), until.clone())
        };
        if let Some(http) = self.http {
            parts.listen("the listener of --http", serve("http", http, ingest::router(hub.clone()), drain));
        }
        if let Some(grpc) = self.grpc {
            let limits = grpc::Limits::default().within(files);
            let grpc = grpc::serve("grpc", grpc, hub.clone(), limits, drain.clone());
            parts.listen("the listener of --grpc", grpc);
        }
        let admin = admin::router(hub.clone(), drain.clone());
        parts.listen("the listener of --admin", serve("admin", self.admin, admin, lasting));
        let api = api::router(hub.clone());
        let is_here = self.api.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let api = if is_here { api::local(api) } else { api };
        parts.listen("the listener of --api", serve("api", self.api, api, drain));
    }
}

async fn bind(flag: &'static str, address: Option<&str>) -> Result<Option<TcpListener>, BindError> {
    match address {
        Some(address) => server::bind(flag, address).await.map(Some),
        None => Ok(None),
    }
}

impl Bound {
    /// Those that are for whoever runs the process.
    pub fn tools(self) -> Tools {
        Tools::new([self.admin, self.api])
    }

    /// Says so, of a replica that has a name.
    pub fn tell(self, replica: Option<&str>) {
        let Self { http, grpc, admin, api } = self;
        let (http, grpc) = (http.map(tracing::field::display), grpc.map(tracing::field::display));
        tracing::info!(http, grpc, %admin, %api, replica, "listening");
    }
}

impl BindError {
    /// What is wrong, and what to do about it.
    pub fn problem(&self) -> String {
        let Self { address, flag, source } = self;
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => "stop what listens there, or name another address",
            io::ErrorKind::PermissionDenied => "ports below 1024 are the system's; name another",
            _ => "name an address of this machine",
        };
        format!("{flag}: could not listen on {address}: {source} ({hint} with {flag} HOST:PORT)")
    }
}
