//! `cargo xtask chaos`: campaigns on three real brokers, one after the other, each with blows that its seed draws from all there are,
//! for as long as is wanted. Prints a line for each, and what they come to together; fails if anything was wrong.

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_brokers::Cluster;
use evhub_e2e::{
    campaign::{Campaign, brokers},
    check::gate::{Figures, Gate},
    history::draw,
    model::Order,
    plan::Plan,
    proxy::{Act, Api},
    run::seed,
    script::Mode,
    siege::{Kind, Role, schedule},
};

/// How many blows there are in one campaign.
const BLOWS: usize = 4;

/// Everything that is done to a campaign whose events have three copies.
const KINDS: [Kind; 15] = [
    Kind::BrokerKilled(Role::Leader),
    Kind::BrokerKilled(Role::Coordinator),
    Kind::BrokerKilled(Role::Controller),
    Kind::BrokerHung(Role::Leader),
    Kind::BrokerHung(Role::Coordinator),
    Kind::BrokersRolled,
    Kind::PlaneKilled,
    Kind::PlanePaused,
    Kind::Scaled(3),
    Kind::Scaled(1),
    Kind::Cut(Role::Leader),
    Kind::Cut(Role::Coordinator),
    Kind::Answers(Api::Produce, Act::Lose),
    Kind::Answers(Api::OffsetCommit, Act::Lose),
    Kind::Answers(Api::Produce, Act::Hold(Duration::from_secs(1))),
];

fn main() -> ExitCode {
    match wish(&env::args().skip(1).collect::<Vec<_>>()).and_then(|(minutes, seed)| run(minutes, seed)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// For how long, and with which seed.
fn wish(words: &[String]) -> Result<(u64, u64)> {
    let (mut minutes, mut chosen) = (10, seed());
    for pair in words.chunks(2) {
        let [name, value] = pair else { anyhow::bail!("{} needs a number", pair[0]) };
        let number = value.parse().with_context(|| format!("{name} {value} is no number"))?;
        match name.as_str() {
            "--minutes" => minutes = number,
            "--seed" => chosen = number,
            _ => anyhow::bail!("there is no {name} here: --minutes N, --seed S"),
        }
    }
    ensure!(minutes > 0, "--minutes is a number above 0");
    Ok((minutes, chosen))
}

/// Whether nothing was wrong.
fn run(minutes: u64, first: u64) -> Result<bool> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (began, mut cluster) = (Instant::now(), None::<Cluster>);
    let (mut figures, mut campaigns, mut failed) = (Figures::default(), 0, 0);
    while began.elapsed() < Duration::from_mins(minutes) {
        if cluster.is_none() {
            let folder = env::temp_dir().join(format!("evhub-chaos-{}-{campaigns}", std::process::id()));
            cluster = Some(brokers(folder)?);
        }
        let Some(up) = cluster.as_mut() else { continue };
        match runtime.block_on(campaign(first + campaigns).run(up)) {
            Ok(one) => figures = figures.and(&one),
            Err(error) => {
                failed += 1;
                eprintln!("{error:#}");
                // Whatever was done to them last may not be undone.
                cluster = None;
            }
        }
        campaigns += 1;
    }
    println!(
        "chaos: seed {first}; {:.0?}; campaigns {campaigns}, of them {failed} with anomalies or void; {figures}",
        began.elapsed()
    );
    Ok(failed == 0)
}

/// One whose blows are drawn; each seventh has one copy of its events, and loses the broker that has it.
fn campaign(seed: u64) -> Campaign {
    let mut campaign = Campaign::new("chaos");
    campaign.seed = seed;
    campaign.processors = vec![
        Plan::new("billing", &Mode::MIXED),
        Plan { order: Order::None, ..Plan::new("audit", &Mode::MIXED) },
        Plan { order: Order::Partition, ..Plan::new("ledger", &[(Mode::Fine, 9), (Mode::Slow, 1)]) },
    ];
    campaign.proxied = true;
    let drawn = |n: usize| KINDS[(draw(seed, &["kind", &n.to_string()]) % KINDS.len() as u64) as usize];
    let mut kinds: Vec<Kind> = (0..BLOWS).map(drawn).collect();
    if seed.is_multiple_of(7) {
        campaign.copies = Some((1, 1));
        kinds = vec![Kind::Leaderless];
    }
    campaign.planes = 2;
    campaign.blows = schedule(seed, &kinds, (1000, 8000), (2000, 12_000));
    campaign.gate = Gate { acked: 300, recovered: 10, dead: 3, ..Gate::default() };
    campaign
}
