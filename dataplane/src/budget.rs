//! How much memory each part of a hub may take. Pure, but for asking the system how much there is.
//!
//! Every byte that grows with what others do is bounded by one of these shares, and together they are less than there is; so
//! the hub sheds long before the system would end it. What each share is for stands beside it here and in
//! `docs/performance.md`; nowhere else is a size chosen by the memory that there is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use evhub_dispatch::worker::Room;

use crate::ingest::Door;

const MIB: u64 = 1 << 20;

/// The shares, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What there is for all.
    pub total: u64,
    /// Events on their way to the log, over all listeners. Each is in memory twice: as it came, and as it will be written.
    pub door: usize,
    /// Writes that wait for the log. Those of events are what the door let in; a quarter more is for what lets the hub finish
    /// what it has.
    pub log: usize,
    /// Events that workers read from their sources, and half as much again for those that are read back from where they are
    /// parked. Each may be in memory twice: as it was read, and as it is sent.
    pub events: usize,
    /// The indexes of what is parked.
    pub parked: usize,
}

impl Budget {
    /// The shares of so many bytes. What is not shared out here, 48 MiB of 256, is for the program itself, for the listeners'
    /// connections, and for the log's batch, index and housekeeping; those have bounds of their own.
    pub fn of(total: u64) -> Self {
        let share = |part: u64, least: u64, most: u64| (total / part).clamp(least * MIB, most * MIB) as usize;
        Self {
            total,
            // At least the default of a batch.
            door: share(16, 8, 64),
            log: share(16, 8, 32),
            events: share(16, 8, u64::MAX / MIB),
            parked: (total / 2) as usize,
        }
    }

    /// The shares of what this process may have: what its memory cgroup allows, or what the machine has.
    pub fn of_this_process() -> Self {
        let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine(&text)).unwrap_or(u64::MAX);
        let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let bounds = limit_files(&groups).into_iter().filter_map(|file| read(&file)?.trim().parse().ok());
        Self::of(bounds.fold(machine, u64::min))
    }

    /// The door to publishers.
    pub fn door(&self) -> Door {
        Door::new(self.door)
    }

    /// What workers share.
    pub fn room(&self) -> Room {
        Room::new(self.events, self.parked)
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// What a machine has, as the kernel tells it.
fn machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the bounds of a process stand: those of its group and of all groups above it, of either version. In a container its own
/// group may be shown as the root, so the roots are looked at, too.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" if id == "0" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fit_into_what_there_is_and_grow_with_it() {
        for total in [256, 512, 1024, 24 << 10] {
            let budget = Budget::of(total * MIB);
            let reread = budget.events / 2;
            let twice = 2 * (budget.door + budget.events + reread);
            let all = (twice + budget.parked) as u64 + 48 * MIB;
            assert!(all <= total * MIB, "{budget:?} needs {} of {total} MiB", all / MIB);
        }
        let small = Budget::of(256 * MIB);
        assert_eq!((small.door, small.log, small.events), (16 << 20, 16 << 20, 16 << 20));
        assert!(small.parked / Room::PARKED > 1_000_000);
        let large = Budget::of(24 << 30);
        assert_eq!((large.door, large.log), (64 << 20, 32 << 20));
    }

    #[test]
    fn the_bounds_of_a_group_and_of_those_above_count() {
        let groups = "9:name=systemd:/x\n4:memory,cpu:/a/b\n0::/pods/one\n";
        let files: Vec<String> = limit_files(groups).iter().map(|file| file.display().to_string()).collect();
        let (one, two) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let expected = [
            format!("{one}/a/b/memory.limit_in_bytes"),
            format!("{one}/a/memory.limit_in_bytes"),
            format!("{one}/memory.limit_in_bytes"),
            format!("{two}/pods/one/memory.max"),
            format!("{two}/pods/memory.max"),
            format!("{two}/memory.max"),
        ];
        assert_eq!(files, expected);
        assert_eq!(machine("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert!(Budget::of_this_process().total > 0);
    }
}
