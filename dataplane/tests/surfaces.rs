//! Every HTTP surface over real sockets and the embedded log.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod surfaces {
    mod admin;
    mod batch;
    mod dead;
    mod log;
    mod publish;
    mod refuse;
    mod rig;
    mod serve;
    mod wire;
}
