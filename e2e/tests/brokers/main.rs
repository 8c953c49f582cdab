//! Several dataplanes on three real brokers, besieged. One run at a time, all on the same brokers.

#![allow(missing_docs)]

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use evhub_brokers::Cluster;
use evhub_e2e::{
    campaign::{self, Campaign},
    check::gate::Gate,
    model::Order,
    plan::Plan,
    proxy::{Act, Api},
    script::Mode,
    siege::{Kind, Role, schedule},
};

static BROKERS: Mutex<Option<Cluster>> = Mutex::new(None);

/// Two Processors whose targets misbehave, so that much is parked; what a run must have seen beside its blows is scaled to so
/// many blows.
fn campaign(name: &str, kinds: &[Kind], lasts: (u64, u64)) -> Campaign {
    let mut campaign = Campaign::new(name);
    campaign.processors = vec![
        Plan::new("billing", &Mode::MIXED),
        Plan { order: Order::None, ..Plan::new("audit", &Mode::MIXED) },
    ];
    campaign.blows = schedule(campaign.seed, kinds, (1500, 3000), lasts);
    // Each way to misbehave is a fault as well, and must have been met.
    let misbehaviours = 2 * (Mode::MIXED.len() - 1);
    campaign.gate =
        Gate { acked: 300, recovered: 10, dead: 3, faults: misbehaviours + kinds.len(), ..Gate::default() };
    campaign
}

/// Runs one in its turn, on a runtime of its own.
fn run(campaign: Campaign) -> Result<()> {
    let mut turn = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    if turn.is_none() {
        let folder = env::temp_dir().join(format!("evhub-siege-{}", std::process::id()));
        *turn = Some(campaign::brokers(folder)?);
    }
    let Some(brokers) = turn.as_mut() else { return Ok(()) };
    let went = tokio::runtime::Runtime::new()?.block_on(campaign.run(brokers));
    if went.is_err() {
        // Whatever was done to them last may not be undone.
        *turn = None;
    }
    went.map(drop)
}

#[test]
fn e2e_brokers_killed() -> Result<()> {
    let kinds = [Role::Leader, Role::Coordinator, Role::Controller].map(Kind::BrokerKilled);
    run(campaign("e2e_brokers_killed", &kinds, (0, 1000)))
}

#[test]
fn e2e_broker_hung() -> Result<()> {
    run(campaign("e2e_broker_hung", &[Kind::BrokerHung(Role::Leader)], (4000, 6000)))
}

#[test]
fn e2e_brokers_rolled() -> Result<()> {
    let mut campaign = campaign("e2e_brokers_rolled", &[Kind::BrokersRolled], (0, 1));
    campaign.gate.faults += 2;
    run(campaign)
}

#[test]
fn e2e_dataplanes_killed() -> Result<()> {
    let mut campaign = campaign("e2e_dataplanes_killed", &[Kind::PlaneKilled; 2], (0, 3000));
    campaign.gate = Gate { changes: 4, repeats: 1, ..campaign.gate };
    run(campaign)
}

#[test]
fn e2e_dataplane_paused() -> Result<()> {
    let mut campaign = campaign("e2e_dataplane_paused", &[Kind::PlanePaused], (9000, 11000));
    campaign.gate = Gate { changes: 4, ..campaign.gate };
    run(campaign)
}

#[test]
fn e2e_scaled() -> Result<()> {
    let mut campaign = campaign("e2e_scaled", &[Kind::Scaled(3), Kind::Scaled(1)], (0, 1));
    campaign.planes = 1;
    campaign.gate = Gate { changes: 4, ..campaign.gate };
    run(campaign)
}

/// Three dataplanes, and nearly all events in one partition: its owner has nearly all attempts at once, and with the others' never
/// more than all.
#[test]
fn e2e_shared() -> Result<()> {
    let mut campaign = campaign("e2e_shared", &[Kind::PlaneKilled], (0, 1000));
    campaign.planes = 3;
    let slow = [(Mode::Slow, 1)];
    campaign.processors = vec![Plan { order: Order::None, max_in_flight: 20, ..Plan::new("billing", &slow) }];
    campaign.load.keys = 1;
    campaign.load.clients = 24;
    campaign.load.rest = Duration::from_millis(20);
    campaign.gate = Gate { acked: 1000, at_once: 18, faults: 2, ..Gate::default() };
    run(campaign)
}

/// What the brokers did, and nobody heard of.
#[test]
fn e2e_answers_lost() -> Result<()> {
    let kinds = [
        Kind::Answers(Api::Produce, Act::Lose),
        Kind::Answers(Api::OffsetCommit, Act::Lose),
        Kind::Answers(Api::Produce, Act::Hold(Duration::from_secs(1))),
    ];
    let mut campaign = campaign("e2e_answers_lost", &kinds, (5000, 6000));
    campaign.proxied = true;
    run(campaign)
}

/// A broker that all the others reach, and no dataplane does.
#[test]
fn e2e_cut_off() -> Result<()> {
    let mut campaign = campaign("e2e_cut_off", &[Kind::Cut(Role::Coordinator)], (9000, 11_000));
    campaign.proxied = true;
    run(campaign)
}

/// Nobody can take over what nobody leads: it waits, and the rest goes on.
#[test]
fn e2e_leaderless() -> Result<()> {
    let mut campaign = campaign("e2e_leaderless", &[Kind::Leaderless], (12_000, 14_000));
    campaign.copies = Some((1, 1));
    campaign.load.rest = Duration::from_millis(80);
    campaign.gate.faults += 1;
    run(campaign)
}
