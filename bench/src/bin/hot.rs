//! `hot CASE TIMES`: does one step of an event's way so many times, for callgrind to count, and tells how many
//! allocations each took. `tests/gates.rs` runs it.

use std::{alloc::System, env, process::ExitCode};

use evhub_bench::steps;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [case, times] = words.as_slice() else { return usage() };
    let (Some(mut step), Ok(times)) = (steps::step(case), times.parse::<usize>()) else { return usage() };
    // Whatever is made once and kept is made now.
    step();
    let region = Region::new(ALLOCATOR);
    for _ in 0..times {
        step();
    }
    let change = region.change();
    println!("{}", (change.allocations + change.reallocations) as f64 / times as f64);
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: hot CASE TIMES, with a case of: {}", steps::NAMES.join(" "));
    ExitCode::from(64)
}
