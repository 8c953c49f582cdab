//! Every HTTP surface over real sockets and the embedded log.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod surfaces {
    mod admin;
    mod attacks;
    mod batch;
    mod calls;
    mod claims;
    mod cloudevents;
    mod dead;
    mod delivered;
    mod evhub;
    mod h2;
    mod log;
    mod memory;
    mod peers;
    mod publish;
    mod refuse;
    mod refuse_calls;
    mod repeats;
    mod rig;
    mod schedules;
    mod serve;
    mod shed;
    mod tail;
    mod timers;
    mod trace;
    mod transactions;
    mod undecided;
    mod wire;
}
