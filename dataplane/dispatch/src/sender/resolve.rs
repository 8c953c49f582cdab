//! Which addresses a target's name has. `localhost` is this machine, whatever a name server or a file says of it: what is
//! allowed because it is here must not lead elsewhere. Other names are looked up for each connection. I/O.

use std::{
    future::{Ready, ready},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use futures_util::future::Either;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// Looks names up.
#[derive(Clone, Debug)]
pub(super) struct Resolver(GaiResolver);

/// The addresses that a name has.
type Addresses = vec::IntoIter<SocketAddr>;

/// Those of this machine; the port is the caller's to know.
fn here() -> Addresses {
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))].into_iter()
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Resolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future =
        Either<Ready<io::Result<Addresses>>, Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if name.as_str().eq_ignore_ascii_case("localhost") {
            return Either::Left(ready(Ok(here())));
        }
        let found = self.0.call(name);
        Either::Right(Box::pin(async move { Ok(found.await?.collect::<Vec<_>>().into_iter()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_here_and_nobody_is_asked() {
        for name in ["localhost", "LocalHost"] {
            let found: Vec<_> = Resolver::new().call(name.parse().unwrap()).await.unwrap().collect();
            assert_eq!(found.len(), 2);
            assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        }
        let looked_up = Resolver::new().call("127.0.0.1".parse().unwrap());
        assert!(matches!(looked_up, Either::Right(_)), "any other name is looked up");
    }
}
