//! One file for each way in, and what they share.

pub(crate) mod answer;
pub(crate) mod api;
pub(crate) mod canary;
pub(crate) mod cel;
pub(crate) mod cron;
pub(crate) mod dispatch;
pub(crate) mod evhub;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod journal;
pub(crate) mod manifest;
mod parts;
pub(crate) mod record;
pub(crate) mod state;
mod surface;
pub(crate) mod text;
pub(crate) mod trace;
