//! One HTTP/2 connection: many calls at once, for as long as a connection may live. Does I/O.

use std::{pin::pin, sync::Arc};

use evhub_lifecycle::{Drain, channel};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Limits,
    call::{self, Answered, Context},
};
use crate::server::{
    self, multiplex,
    phase::Phase,
    readers::{Readers, Watched},
    socket::Socket,
};

/// Serves one connection to its end: its peer's, its age's, or the drain's.
pub(super) async fn serve(context: Arc<Context>, limits: Limits, drain: Drain, stream: TcpStream) {
    // An answer is one small write; waiting for more would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let name = context.name;
    let bounds = server::Limits { head: limits.greeting, write: limits.write, ..server::Limits::default() };
    let mut socket = Socket::new(stream, Arc::new(Phase::default()), bounds);
    let greeted = tokio::select! {
        greeted = socket.greeted() => greeted,
        () = drain.begun() => return,
    };
    if !matches!(greeted, Ok(true)) {
        return tracing::debug!(listener = name, ?greeted, "a connection ends that does not speak HTTP/2");
    }
    let (trigger, ending) = channel();
    let readers = Arc::new(Readers::default());
    let watching = Arc::clone(&readers);
    let service = hyper::service::service_fn(move |request| {
        let (context, ending, readers) = (Arc::clone(&context), ending.clone(), Arc::clone(&readers));
        async move {
            let response = call::answer(&context, &ending, request).await;
            Answered::Ok(response.map(|body| Watched::new(body, &readers)))
        }
    });
    let builder = multiplex::builder(limits.streams, limits.head_bytes, limits.ping, limits.pong);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = drain.begun() => {}
            () = sleep(multiplex::spread(limits.age)) => {}
        }
        trigger.begin();
        connection.as_mut().graceful_shutdown();
        // Calls that outlast their connection are cut off.
        timeout(limits.grace, connection.as_mut()).await.unwrap_or(Ok(()))
    };
    tokio::select! {
        ended = served => if let Err(error) = ended {
            tracing::debug!(listener = name, %error, "a connection broke");
        },
        () = watching.stalled(limits.write) => {
            tracing::debug!(listener = name, "a connection is cut off: it does not read its answers");
        }
    }
}
