//! Timers and keys, beside producers that commit transactions and do nothing else. On one real Kafka broker, or on the
//! embedded log; each process has a ledger of its own in it, new in each round.
//!
//! - [`site`]: the broker, or the folder
//! - [`owners`]: who leads when a process ends

mod owners;
pub(crate) mod site;

use anyhow::{Result, ensure};
use evhub_bench::rounds::Rounds;

use self::site::Site;
use crate::{
    role::{
        ledger::{Asked, DATA, Fired, PARTITIONS, Rebuilt, SHARDS},
        raw::Committed,
    },
    settings::Settings,
};

/// How many are due in one second.
const BURST: u64 = 20_000;
/// How many come due each second, and beside how many that do not: more than memory has room for the events of.
const RATES: [(u64, u64); 3] = [(1_000, 0), (5_000, 0), (1_000, 250_000)];
/// How many events share a bare transaction: as many as a shard has askers, and as many as fire at once at the most.
const BATCHES: (u64, u64) = (250, 2_000);
/// Of how many pending timers one is overdue when they are taken over, where that is measured.
const OVERDUE: u64 = 50;
/// How many keys are remembered, which is less than the most that a ledger of so many shards remembers.
const KEYS: u64 = 300_000;

/// Measures and shows the tables.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("The ledger");
    let site = Site::open(settings)?;
    println!("; {site}; {SHARDS} shards, {PARTITIONS} partitions, events of {DATA} bytes of data\n");
    let rate = rates(settings, &site)?;
    for shape in RATES {
        lateness(settings, &site, shape, rate)?;
    }
    keys(settings, &site)?;
    pending(settings, &site)?;
    owners::handed_over(settings, &site)
}

/// A column of figures.
fn column<T>(figures: &[T], pick: impl Fn(&T) -> f64) -> Rounds {
    let mut rounds = Rounds::default();
    for figure in figures {
        rounds.add(pick(figure));
    }
    rounds
}

/// How fast timers are submitted, and how fast those fire that are due at one instant. Gives back how many were submitted each
/// second.
fn rates(settings: &Settings, site: &Site) -> Result<f64> {
    let seconds = settings.seconds.to_string();
    let measured = settings.measure(|_| {
        let guard = site.guard()?;
        let raw: Committed = site.raw(&["submits", &BATCHES.0.to_string(), &seconds])?;
        let asked: Asked = site.ledger(&["submits", &seconds])?;
        let raw_fires: Committed = site.raw(&["fires", &BATCHES.1.to_string(), &seconds])?;
        let burst = fired(site, &["burst", &BURST.to_string()], (BURST, 0), asked.rate)?;
        Ok(((raw, asked, raw_fires, burst), guard.foreign()?))
    })?;
    let figures = &measured.figures;
    let submits = column(figures, |(_, asked, ..)| asked.rate);
    let fires = column(figures, |(.., burst)| burst.events as f64 / burst.seconds);
    let floors = [column(figures, |(raw, ..)| raw.rate), column(figures, |(_, _, raw, _)| raw.rate)];
    let micros =
        [column(figures, |(_, asked, ..)| asked.micros), column(figures, |(.., burst)| burst.micros)];
    println!("others used at most {:.0} % of the machine\n", measured.worst);
    println!(
        "| | ledger, events/s | bare transactions, events/s | × bare | CPU of the ledger's process, µs an event |"
    );
    println!("|---|---:|---:|---:|---:|");
    let names = ["submitted, 1,000 ask at once".to_owned(), format!("fired, {BURST} due at one instant")];
    for (((name, ours), floor), micros) in names.iter().zip([&submits, &fires]).zip(&floors).zip(&micros) {
        let (ours, floor, ratio) = (ours.spread(), floor.spread(), ours.over(floor).spread());
        println!("| {name} | {ours:.0} | {floor:.0} | {ratio} | {:.0} |", micros.spread());
    }
    let waited = [0, 1].map(|at| column(figures, |(_, asked, ..)| asked.waited[at] as f64 / 1e3).spread());
    let late = [0, 1, 3].map(|at| column(figures, |(.., burst)| burst.late[at] as f64 / 1e3).spread().median);
    println!("\nA submit waited {:.0} ms at 50 % and {:.0} ms at 99 %.", waited[0], waited[1]);
    println!(
        "Of those due at one instant half came within {:.0} ms, 99 % within {:.0}, all within {:.0}. {}\n",
        late[0],
        late[1],
        late[2],
        none_wrong(figures.iter().map(|(.., burst)| burst)),
    );
    Ok(submits.spread().lowest)
}

/// How late events of one contender were.
type Pick = fn(&(Fired, Committed)) -> &[u64; 4];

fn late((ours, _): &(Fired, Committed)) -> &[u64; 4] {
    &ours.late
}

fn took((_, raw): &(Fired, Committed)) -> &[u64; 4] {
    &raw.took
}

/// How late timers fire that come due at even distances.
fn lateness(settings: &Settings, site: &Site, (rate, beside): (u64, u64), submits: f64) -> Result<()> {
    let (each, seconds) = (rate.to_string(), settings.seconds.to_string());
    let measured = settings.measure(|_| {
        let guard = site.guard()?;
        let raw: Committed = site.raw(&["paced", &each, &seconds])?;
        let count = rate * u64::from(settings.seconds);
        let ours = fired(site, &["paced", &each, &seconds], (count, beside), submits)?;
        Ok(((ours, raw), guard.foreign()?))
    })?;
    let figures = &measured.figures;
    println!(
        "{rate} due each second, beside {beside} that are not; others used at most {:.0} % of the machine\n",
        measured.worst
    );
    println!("| | p50 ms | p99 ms | p99.9 ms | latest ms |\n|---|---:|---:|---:|---:|");
    let millis = |at: usize, pick: Pick| column(figures, |figure| pick(figure)[at] as f64 / 1e3).spread();
    for (name, pick) in
        [("ledger, until a reader has it", late as Pick), ("bare transactions, until committed", took)]
    {
        let cells = [0, 1, 2, 3].map(|at| format!(" | {:.1}", millis(at, pick))).concat();
        println!("| {name}{cells} |");
    }
    let ratio = |at: usize| {
        let ours = column(figures, |(ours, _)| ours.late[at] as f64);
        ours.over(&column(figures, |(_, raw)| raw.took[at] as f64)).spread()
    };
    let micros = column(figures, |(ours, _)| ours.micros).spread();
    println!(
        "\n× bare: {} at 50 %, {} at 99 %. CPU of the ledger's process, µs an event: {micros:.0}. {}\n",
        ratio(0),
        ratio(1),
        none_wrong(figures.iter().map(|(ours, _)| ours)),
    );
    Ok(())
}

/// Has timers fire, which are submitted before; with room for a machine that is twice as slow then.
fn fired(site: &Site, words: &[&str], (count, beside): (u64, u64), submits: f64) -> Result<Fired> {
    let lead = (2_000.0 + 2_000.0 * count as f64 / submits).round().to_string();
    let fired: Fired = site.ledger_beside(beside, &[words, &[lead.as_str()][..]].concat())?;
    ensure!(fired.events == count && fired.lost == 0, "{} of {count} timers never fired", fired.lost);
    ensure!(fired.doubles == 0, "{} timers fired again", fired.doubles);
    ensure!(fired.early == 0, "{} timers fired early", fired.early);
    Ok(fired)
}

fn none_wrong<'a>(fired: impl Iterator<Item = &'a Fired>) -> String {
    let (mut events, mut lost, mut doubles, mut early) = (0, 0, 0, 0);
    for one in fired {
        (events, lost) = (events + one.events, lost + one.lost);
        (doubles, early) = (doubles + one.doubles, early + one.early);
    }
    format!("Of {events}: {early} early, {lost} lost, {doubles} double.")
}

/// What a key costs.
fn keys(settings: &Settings, site: &Site) -> Result<()> {
    let seconds = settings.seconds.to_string();
    let measured = settings.measure(|_| {
        let guard = site.guard()?;
        let figures: [Asked; 2] = site.ledger(&["keys", &seconds])?;
        Ok((figures, guard.foreign()?))
    })?;
    let figures = &measured.figures;
    let rates = [0, 1].map(|at| column(figures, |both| both[at].rate));
    println!("others used at most {:.0} % of the machine\n", measured.worst);
    println!(
        "| 1,000 publish at once | events/s | × without | waited, p50 ms | p99 ms | CPU of the process, µs an event |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (at, name) in ["without a key", "with a key"].iter().enumerate() {
        let waited = [0, 1].map(|part| column(figures, |both| both[at].waited[part] as f64 / 1e3).spread());
        let micros = column(figures, |both| both[at].micros).spread();
        let ratio = rates[at].over(&rates[0]).spread();
        println!(
            "| {name} | {:.0} | {ratio} | {:.1} | {:.1} | {micros:.0} |",
            rates[at].spread(),
            waited[0],
            waited[1]
        );
    }
    println!();
    Ok(())
}

/// What memory and time pending timers and keys take. Once each: they are many.
fn pending(settings: &Settings, site: &Site) -> Result<()> {
    println!(
        "| | resident before, MiB | with them | bytes each | at the most, MiB | known again after, s | overdue fired/s |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let timers = settings
        .pending
        .iter()
        .flat_map(|count| [("timers", *count, 0), ("timers", *count, count / OVERDUE)]);
    for (what, count, overdue) in timers.chain([("keys", KEYS, 0)]) {
        let words = [what, &count.to_string(), &overdue.to_string()];
        let Rebuilt { seconds, before, resident, peak, fired } = site.seeded(&words)?;
        let bytes = resident.saturating_sub(before) as f64 * 1024.0 / count as f64;
        let [before, resident, peak] = [before, resident, peak].map(|kib| kib >> 10);
        let (name, rate) = match overdue {
            0 => (format!("{count} {what}"), "–".to_owned()),
            _ => (format!("{count} {what}, {overdue} overdue"), format!("{:.0}", overdue as f64 / fired)),
        };
        println!("| {name} | {before} | {resident} | {bytes:.0} | {peak} | {seconds:.1} | {rate} |");
    }
    println!();
    Ok(())
}
