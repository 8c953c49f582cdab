//! The chart: what it renders, what it refuses, and whether what it says is true of the programs and pages that it speaks of.
//!
//! - `golden`: the whole of what is rendered from each file of values in `tests/data`
//! - `values`: the table, the schema, and values that make no sense
//! - `objects`: what holds for every object, pod and role, whatever the values
//! - `crds`: the CRDs as the chart brings them
//! - `flags`: the programs know every flag that they are given
//! - `monitoring`: alerts and dashboard speak of metrics and runbooks that there are
//! - `health`: what Argo CD makes of a resource's conditions

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

mod crds;
mod flags;
mod golden;
mod health;
mod monitoring;
mod objects;
mod rendered;
mod values;
