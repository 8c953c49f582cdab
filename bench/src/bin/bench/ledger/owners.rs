//! Who leads when one of two processes ends: killed, or told to. Starts processes, and ends them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use evhub_bench::child::Child;

use super::{column, site::Site};
use crate::{
    role::ledger::{Leads, SHARDS, micros},
    settings::Settings,
};

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    Told,
}

/// Measures and shows the table. The embedded log is one process's.
pub(super) fn handed_over(settings: &Settings, site: &Site) -> Result<()> {
    if !site.is_kafka() {
        return Ok(());
    }
    println!("| of two processes one ends | until the other one leads all shards, s |\n|---|---:|");
    for (end, name) in [(End::Killed, "killed"), (End::Told, "terminated")] {
        let times: Result<Vec<f64>> = (0..settings.rounds).map(|_| once(site, end)).collect();
        println!("| {name} | {} |", column(&times?, |seconds| *seconds).spread());
    }
    Ok(())
}

fn once(site: &Site, end: End) -> Result<f64> {
    let name = site.name();
    let mut first = site.start("ledger", &name, &["lead"])?;
    until_leads(&mut first, SHARDS)?;
    let mut second = site.start("ledger", &name, &["lead"])?;
    until_leads(&mut second, SHARDS / 2)?;
    let began = micros() as i64 / 1_000;
    match end {
        End::Killed => drop(first),
        End::Told => {
            let told = Command::new("kill").args(["-TERM", &first.id().to_string()]).status();
            ensure!(told.context("run kill")?.success(), "a process cannot be terminated");
        }
    }
    let at = until_leads(&mut second, SHARDS)?;
    Ok((at - began) as f64 / 1e3)
}

/// Waits until a process says that it leads so many shards, and tells when that was.
fn until_leads(child: &mut Child, shards: u32) -> Result<i64> {
    loop {
        let leads: Leads = serde_json::from_str(&child.line()?)?;
        if leads.shards == u64::from(shards) {
            return Ok(leads.at);
        }
    }
}
