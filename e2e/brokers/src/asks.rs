//! What a broker says of its cluster: requests of Kafka's protocol by hand, as few as tests need to aim at a broker. Does I/O.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The largest answer that is read.
const LARGEST: usize = 4 << 20;

const METADATA: (i16, i16) = (3, 1);
const OFFSETS: (i16, i16) = (9, 1);
const COORDINATOR: (i16, i16) = (10, 1);
const GROUPS: (i16, i16) = (16, 0);
const ACLS: (i16, i16) = (30, 1);
const QUORUM: (i16, i16) = (55, 0);

/// How many live brokers the one at this port lists.
pub(crate) fn live(port: u16) -> Result<usize> {
    let answer = ask(port, METADATA, &[0, 0, 0, 0])?;
    Ok(usize::try_from(Answer(&answer).int()?).unwrap_or(0))
}

/// The broker that leads each partition of a topic, by partition; -1 where nobody does.
pub(crate) fn leaders(port: u16, topic: &str) -> Result<Vec<i32>> {
    let mut question = 1_i32.to_be_bytes().to_vec();
    text(&mut question, topic);
    let answer = ask(port, METADATA, &question)?;
    let mut answer = Answer(&answer);
    for _ in 0..answer.int()? {
        answer.skip(4)?;
        answer.text()?;
        answer.skip(4)?;
        answer.text()?;
    }
    answer.skip(4)?;
    ensure!(answer.int()? == 1 && answer.short()? == 0, "{topic} is not known");
    answer.text()?;
    answer.skip(1)?;
    let mut leaders = Vec::new();
    for _ in 0..answer.int()? {
        answer.skip(2)?;
        leaders.push((answer.int()?, answer.int()?));
        for _ in 0..2 {
            let replicas = usize::try_from(answer.int()?).unwrap_or(0);
            answer.skip(4 * replicas)?;
        }
    }
    leaders.sort_unstable();
    Ok(leaders.into_iter().map(|(_, leader)| leader).collect())
}

/// The broker that coordinates a group.
pub(crate) fn coordinator(port: u16, group: &str) -> Result<i32> {
    let mut question = Vec::new();
    text(&mut question, group);
    question.push(0);
    let answer = ask(port, COORDINATOR, &question)?;
    let mut answer = Answer(&answer);
    answer.skip(4)?;
    ensure!(answer.short()? == 0, "{group} has no coordinator");
    answer.text()?;
    answer.int()
}

/// The groups that a broker coordinates.
pub(crate) fn groups(port: u16) -> Result<Vec<String>> {
    let answer = ask(port, GROUPS, &[])?;
    let mut answer = Answer(&answer);
    ensure!(answer.short()? == 0, "no groups are told");
    let mut groups = Vec::new();
    for _ in 0..answer.int()? {
        groups.push(answer.text()?);
        answer.text()?;
    }
    Ok(groups)
}

/// What a group has committed of a topic's first partitions, as its coordinator knows it; nothing where nothing is.
pub(crate) fn committed(port: u16, group: &str, topic: &str, partitions: u32) -> Result<Vec<(u32, u64)>> {
    let mut question = Vec::new();
    text(&mut question, group);
    question.extend(1_i32.to_be_bytes());
    text(&mut question, topic);
    question.extend(partitions.to_be_bytes());
    (0..partitions).for_each(|partition| question.extend(partition.to_be_bytes()));
    let answer = ask(port, OFFSETS, &question)?;
    let mut answer = Answer(&answer);
    let mut committed = Vec::new();
    for _ in 0..answer.int()? {
        answer.text()?;
        for _ in 0..answer.int()? {
            let (partition, offset) = (answer.int()?, answer.long()?);
            answer.text()?;
            ensure!(answer.short()? == 0, "what {group} has committed is not told");
            committed.extend(u32::try_from(partition).ok().zip(u64::try_from(offset).ok()));
        }
    }
    Ok(committed)
}

/// Takes the right to read from everybody, for groups whose names begin so.
pub(crate) fn deny_groups(port: u16, begin: &str) -> Result<()> {
    const GROUP: u8 = 3;
    const BEGINS: u8 = 4;
    const READ: u8 = 3;
    const DENY: u8 = 2;
    let mut question = 1_i32.to_be_bytes().to_vec();
    question.push(GROUP);
    text(&mut question, begin);
    question.push(BEGINS);
    text(&mut question, "User:*");
    text(&mut question, "*");
    question.extend([READ, DENY]);
    let answer = ask(port, ACLS, &question)?;
    let mut answer = Answer(&answer);
    answer.skip(4)?;
    ensure!(answer.int()? == 1, "one rule was asked for");
    let (code, why) = (answer.short()?, answer.text()?);
    ensure!(code == 0, "the rule is refused: {why} ({code})");
    Ok(())
}

/// The broker that leads the cluster's own log, and with it the cluster.
pub(crate) fn controller(port: u16) -> Result<i32> {
    const TOPIC: &[u8] = b"__cluster_metadata";
    // Lengths are one more than what they count, and each thing ends in the number of its tags.
    let mut question = vec![0, 2, TOPIC.len() as u8 + 1];
    question.extend(TOPIC);
    question.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    let answer = ask(port, QUORUM, &question)?;
    let mut answer = Answer(&answer);
    answer.skip(1)?;
    ensure!(answer.short()? == 0, "the quorum is not told");
    answer.skip(1)?;
    let name = usize::from(answer.skip(1)?[0]).saturating_sub(1);
    answer.skip(name + 1 + 4)?;
    ensure!(answer.short()? == 0, "the quorum is not told");
    answer.int()
}

/// Sends one request on a connection of its own, and reads the answer behind its correlation.
fn ask(port: u16, (what, version): (i16, i16), question: &[u8]) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(what.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    // No name of ours.
    request.extend((-1_i16).to_be_bytes());
    request.extend(question);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("reach a broker")?;
    stream.set_read_timeout(Some(PATIENCE)).context("set a time-out")?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes()).context("ask a broker")?;
    stream.write_all(&request).context("ask a broker")?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).context("hear a broker")?;
    let size = u32::from_be_bytes(size) as usize;
    ensure!((4..LARGEST).contains(&size), "a broker's answer has {size} bytes");
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).context("hear a broker")?;
    answer.drain(..4);
    Ok(answer)
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u16).to_be_bytes());
    to.extend(text.as_bytes());
}

/// What is left of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn skip(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).context("a broker's answer is cut short")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.skip(N)?.try_into().context("a broker's answer is cut short")
    }

    fn short(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Text, or nothing where there is none.
    fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.short()?).unwrap_or(0);
        Ok(String::from_utf8_lossy(self.skip(length)?).into_owned())
    }
}
