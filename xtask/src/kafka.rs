//! Kafka brokers for a person to try things out with: brought up, kept until they are taken down. Does I/O.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use evhub_brokers::{Cluster, Options, QUICK, USER};

/// Where they are, in the workspace's folder of what is built.
const FOLDER: &str = "target/kafka";
/// What they say of themselves, in that folder.
const NOTES: &str = "notes.txt";

/// `up`, `down` or `status`.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let folder = root.join(FOLDER);
    match words {
        ["up", rest @ ..] => up(&folder, &Wish::of(rest)?),
        ["down"] => {
            let ended = evhub_brokers::stop(&folder)?;
            println!("{ended} brokers ended; {} is gone", folder.display());
            Ok(())
        }
        ["status"] => status(&folder),
        _ => bail!("cargo xtask kafka up [--brokers N] [--tls] [--quick] | down | status"),
    }
}

/// What the brokers are to be like.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    brokers: u16,
    tls: bool,
    quick: bool,
}

impl Wish {
    fn of(words: &[&str]) -> Result<Self> {
        let mut wish = Self { brokers: 1, tls: false, quick: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--brokers" => {
                    let count = words.next().context("--brokers needs a number")?;
                    wish.brokers =
                        count.parse().with_context(|| format!("--brokers {count} is no number"))?;
                    ensure!((1..=9).contains(&wish.brokers), "from 1 to 9 brokers");
                }
                "--tls" => wish.tls = true,
                "--quick" => wish.quick = true,
                other => bail!("there is no {other} here: --brokers N, --tls, --quick"),
            }
        }
        Ok(wish)
    }
}

fn up(folder: &Path, wish: &Wish) -> Result<()> {
    if let Some((running, _)) = evhub_brokers::kept(folder)? {
        ensure!(running == 0, "{running} brokers are up already: see `cargo xtask kafka status`");
        // What a machine that was switched off has left.
        evhub_brokers::stop(folder)?;
    }
    let quick = if wish.quick { &QUICK[..] } else { &[] };
    let properties = quick.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = Options { brokers: wish.brokers, secure: wish.tls, properties, folder: folder.to_owned() };
    let cluster = Cluster::start(&options)?;
    fs::write(folder.join(NOTES), notes(folder, &cluster, wish.tls)?)
        .context("note where the brokers are")?;
    cluster.keep();
    status(folder)
}

/// Where the brokers listen, with the client settings that each listener wants, for `--kafka-config`.
fn notes(folder: &Path, cluster: &Cluster, secure: bool) -> Result<String> {
    let mut notes = String::new();
    line(&mut notes, "plain", &cluster.bootstrap(), None);
    if !secure {
        return Ok(notes);
    }
    let of = cluster.certificates();
    let (name, password) = USER;
    let tls = format!("security.protocol=ssl\nssl.ca.location={}\n", of.authority.display());
    let identity = format!(
        "ssl.certificate.location={}\nssl.key.location={}\n",
        of.client.display(),
        of.client_key.display()
    );
    let sasl = format!(
        "security.protocol=sasl_ssl\nssl.ca.location={}\nsasl.mechanism=SCRAM-SHA-512\nsasl.username={name}\nsasl.password={password}\n",
        of.authority.display()
    );
    let listeners = [
        ("tls", cluster.bootstrap_tls(), tls.clone()),
        ("mutual-tls", cluster.bootstrap_mutual_tls(), tls + &identity),
        ("sasl", cluster.bootstrap_sasl(), sasl),
    ];
    for (name, bootstrap, text) in listeners {
        let file = folder.join(format!("{name}.properties"));
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        line(&mut notes, name, &bootstrap, Some(&file));
    }
    Ok(notes)
}

fn line(notes: &mut String, name: &str, bootstrap: &str, settings: Option<&Path>) {
    let settings = settings.map(|file| format!("   {}", file.display())).unwrap_or_default();
    let _ = writeln!(notes, "{name:<10}  {bootstrap}{settings}");
}

fn status(folder: &Path) -> Result<()> {
    let Some((running, all)) = evhub_brokers::kept(folder)? else {
        println!("no brokers are up: `cargo xtask kafka up`");
        return Ok(());
    };
    println!("{running} of {all} brokers run in {}; `cargo xtask kafka down` ends them", folder.display());
    print!("{}", fs::read_to_string(folder.join(NOTES)).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Wish;

    #[test]
    fn a_wish_is_understood_or_refused() {
        assert_eq!(Wish::of(&[]).unwrap(), Wish { brokers: 1, tls: false, quick: false });
        let all = Wish::of(&["--tls", "--brokers", "3", "--quick"]).unwrap();
        assert_eq!(all, Wish { brokers: 3, tls: true, quick: true });
        for bad in [&["--brokers"][..], &["--brokers", "no"], &["--brokers", "0"], &["--sasl"]] {
            assert!(Wish::of(bad).is_err(), "{bad:?}");
        }
    }
}
