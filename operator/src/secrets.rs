//! Secrets that are named, read one by one and again and again: never listed, never watched. I/O.
//!
//! So an operator needs no right to see those that nobody named, and a value that is rotated counts within a minute or so, as
//! in a pod that mounts it. What was known once is kept while the Secret is away; whoever decides is told that it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evhub_backoff::Backoff;
use evhub_compile::Secret;
use evhub_routing::Name;
use futures_util::future::join_all;
use http::HeaderValue;
use k8s_openapi::{ByteString, api::core::v1};
use kube_client::{Api, Client};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

/// How often each is read.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon one is read again that could not be.
const SOON: Duration = Duration::from_secs(3);
/// How long reading one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest value, as in a header that is written out.
const VALUE: usize = 4_096;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// How long those are waited for that are named together.
const GATHER: Duration = Duration::from_millis(10);

/// All that is known.
pub type Known = Arc<BTreeMap<Name, Secret>>;

/// Reads those that are named, and tells all that is known whenever something is different.
pub async fn read(client: Client, mut named: watch::Receiver<BTreeSet<Name>>, known: mpsc::Sender<Known>) {
    let mut all: BTreeMap<Name, Secret> = BTreeMap::new();
    let mut due: BTreeMap<Name, Instant> = BTreeMap::new();
    let backoff = backoff();
    loop {
        let wanted = named.borrow_and_update().clone();
        let before = all.len();
        due.retain(|name, _| wanted.contains(name));
        all.retain(|name, _| wanted.contains(name));
        let mut is_new = all.len() != before;
        for name in wanted {
            due.entry(name).or_insert_with(Instant::now);
        }
        let now = Instant::now();
        let ready: Vec<Name> =
            due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        let mut found = Vec::new();
        for some in ready.chunks(AT_ONCE) {
            found.extend(join_all(some.iter().map(|name| one(&client, name, all.get(name)))).await);
        }
        for (name, secret) in ready.into_iter().zip(found) {
            let is_away = secret.problems.contains_key(&None);
            let wait = if is_away { SOON } else { backoff.wait(1, fastrand::u64(..)) };
            due.insert(name.clone(), Instant::now() + wait);
            is_new |= all.get(&name) != Some(&secret);
            all.insert(name, secret);
        }
        if is_new && known.send(Arc::new(all.clone())).await.is_err() {
            return;
        }
        let next = due.values().min().copied().unwrap_or_else(|| Instant::now() + AGAIN);
        tokio::select! {
            changed = named.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(GATHER).await;
            }
            () = sleep_until(next) => {}
        }
    }
}

async fn one(client: &Client, name: &Name, before: Option<&Secret>) -> Secret {
    let api: Api<v1::Secret> = Api::namespaced(client.clone(), &name.namespace);
    let away = |problem: String| {
        let values = before.map(|before| before.values.clone()).unwrap_or_default();
        Secret { values, problems: BTreeMap::from([(None, problem)]) }
    };
    match timeout(PATIENCE, api.get_opt(&name.name)).await {
        Ok(Ok(Some(found))) => taken(found.data.unwrap_or_default(), before),
        Ok(Ok(None)) => away(format!("there is no Secret {name}")),
        Ok(Err(kube_client::Error::Api(status))) if status.code == 403 => {
            away(format!("the operator may not read Secret {name}: give it the right to get it"))
        }
        Ok(Err(error)) => {
            away(format!("Secret {name} cannot be read ({})", evhub_lifecycle::exit::line(&error)))
        }
        Err(_) => away(format!("Secret {name} cannot be read: the API server does not answer")),
    }
}

/// What a Secret says now. What makes no sense of it is not said, not even in part.
fn taken(data: BTreeMap<String, ByteString>, before: Option<&Secret>) -> Secret {
    let mut secret = Secret::default();
    for (key, ByteString(bytes)) in data {
        match value(&bytes) {
            Ok(value) => drop(secret.values.insert(key, value)),
            Err(problem) => {
                let problem = format!("key {key} {problem}");
                drop(secret.problems.insert(Some(key), problem));
            }
        }
    }
    // A key that has gone, or makes no sense any more, leaves what it was.
    for (key, known) in before.into_iter().flat_map(|before| &before.values) {
        if !secret.values.contains_key(key) {
            secret.values.insert(key.clone(), known.clone());
            let gone = || format!("there is no key {key} any more");
            secret.problems.entry(Some(key.clone())).or_insert_with(gone);
        }
    }
    secret
}

fn value(bytes: &[u8]) -> Result<HeaderValue, &'static str> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let end = bytes.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1);
    let bytes = &bytes[..end];
    let is_visible = |byte: &u8| (b' '..=b'~').contains(byte);
    match bytes {
        [] => return Err("is empty"),
        _ if bytes.len() > VALUE => return Err("is longer than 4096 bytes"),
        [b' ', ..] | [.., b' '] => return Err("begins or ends with a space"),
        _ if !bytes.iter().all(is_visible) => return Err("is not of visible ASCII characters"),
        _ => {}
    }
    let mut value = HeaderValue::from_bytes(bytes).map_err(|_| "is no header's value")?;
    value.set_sensitive(true);
    Ok(value)
}

fn backoff() -> Backoff {
    Backoff::fixed(AGAIN, 20).expect("it is longer than zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &[u8])]) -> BTreeMap<String, ByteString> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect()
    }

    #[test]
    fn a_value_is_what_can_be_a_header_s() {
        assert_eq!(value(b"Bearer hush\r\n").unwrap(), "Bearer hush");
        for bad in [&b""[..], b"\n", b"a\nb", b" a", b"a ", "gr\u{fc}n".as_bytes(), b"\0", &[b'a'; 4_097]] {
            assert!(value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_known_is_kept_and_said_to_have_gone() {
        let first = taken(data(&[("a", b"one"), ("b", b"two")]), None);
        assert!(first.problems.is_empty());
        let second = taken(data(&[("a", b"")]), Some(&first));
        assert_eq!(second.values, first.values);
        let said: Vec<_> = second.problems.values().map(String::as_str).collect();
        assert_eq!(said, ["key a is empty", "there is no key b any more"]);
        let third = taken(data(&[("a", b"three"), ("b", b"two")]), Some(&second));
        assert_eq!((third.values["a"].as_bytes(), third.problems.len()), (&b"three"[..], 0));
    }
}
