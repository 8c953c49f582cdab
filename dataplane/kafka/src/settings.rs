//! Client settings from a file of `name=value` lines, or from a folder in which each file is one, in librdkafka's names: how to be let in, and little else. Reads files.
//!
//! What evhub's promises rest on is not for a file to change, and is refused with the reason. The rest is checked by the client
//! library itself, one setting at a time, so that each bad line is named.

mod gather;
mod tables;

use std::{
    collections::BTreeMap,
    fmt, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use rdkafka::{ClientConfig, error::KafkaError};

use self::gather::Gathered;

/// Checked client settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, String>,
    /// Where they are from, if that may change.
    file: Option<PathBuf>,
    /// What the files that they name hold: the client reads those once.
    files: u64,
}

/// Why settings cannot be used: every reason there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// The settings that a client takes up without connecting anew.
const CREDENTIALS: [&str; 2] = ["sasl.username", "sasl.password"];

impl Settings {
    /// Reads a file of settings, or a folder in which each file is one, and notes what the files hold that they name.
    pub fn read(path: &Path) -> Result<Self, Invalid> {
        let named = |invalid: Invalid| Invalid(format!("{}: {invalid}", path.display()));
        let values = Gathered::from(path)?.finish().map_err(named)?;
        let parsed = Self { values, ..Self::default() };
        Ok(Self { file: Some(path.to_owned()), files: parsed.named_files().map_err(named)?, ..parsed })
    }

    /// Settings from text. A line is `name=value`, or a comment that begins with `#` or `!`, or blank; spaces around a name and
    /// a value do not count.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut gathered = Gathered::default();
        gathered.lines("", text);
        Ok(Self { values: gathered.finish()?, ..Self::default() })
    }

    /// The settings as their file and the files that it names are now, if anything there has changed.
    pub(crate) fn again(&self) -> Option<Result<Self, Invalid>> {
        let read = Self::read(self.file.as_deref()?);
        (read.as_ref() != Ok(self)).then_some(read)
    }

    /// The name and the password that these have and those had not, if nothing else is different.
    pub(crate) fn new_credentials(&self, before: &Self) -> Option<(&str, &str)> {
        let others = |settings: &Self| {
            let mut values = settings.values.clone();
            values.retain(|name, _| !CREDENTIALS.contains(&name.as_str()));
            (values, settings.files)
        };
        let [name, password] = CREDENTIALS.map(|name| self.values.get(name));
        (others(self) == others(before)).then_some((name?, password?))
    }

    /// Puts them over a client's.
    pub(crate) fn over(&self, config: &mut ClientConfig) {
        for (name, value) in &self.values {
            config.set(name, value);
        }
    }

    fn named_files(&self) -> Result<u64, Invalid> {
        let mut hasher = DefaultHasher::new();
        for (name, value) in self.values.iter().filter(|(name, _)| name.ends_with(".location")) {
            let path = Path::new(value);
            // A folder of authorities is the system's, and read by its own rules.
            if path.is_dir() || value == "probe" {
                continue;
            }
            let cannot = |error| Invalid(format!("{name}={value} cannot be read: {error}"));
            fs::read(path).map_err(cannot)?.hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// Why a setting is refused, if it is. No value is repeated: it may be a secret.
fn check(name: &str, value: &str) -> Result<(), String> {
    if let Some(why) = tables::managed(name) {
        return Err(format!("{name} is evhub's own to set, as {why}: leave it out"));
    }
    if let Some(instead) = tables::javas(name) {
        return Err(format!("{name} is for Java's clients: use {instead}"));
    }
    if let Some((range, unit)) = tables::range(name) {
        let within = value.parse().is_ok_and(|value: u64| range.contains(&value));
        let (from, to) = (range.start(), range.end());
        return if within {
            Ok(())
        } else {
            Err(format!("{name} is a number of {unit} from {from} to {to}"))
        };
    }
    if matches!(name, "sasl.mechanism" | "sasl.mechanisms") && !tables::MECHANISMS.contains(&value) {
        return Err(format!("{name} is one of {}", tables::MECHANISMS.join(", ")));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, why, ..)) if why.contains("No such configuration property") => {
            Err(format!("the client has no setting {name}"))
        }
        Err(_) => Err(format!("{name} cannot have this value")),
    }
}

/// Credentials that no connection would use.
fn unprotected(values: &BTreeMap<String, String>) -> Option<&'static str> {
    let any = |prefix: &str| values.keys().any(|name| name.starts_with(prefix));
    let protocol = values.get("security.protocol").map_or("plaintext", String::as_str).to_ascii_lowercase();
    if any("sasl.") && !protocol.starts_with("sasl") {
        return Some(
            "there are sasl settings that nothing uses: set security.protocol to sasl_ssl or sasl_plaintext",
        );
    }
    if any("ssl.") && !protocol.ends_with("ssl") {
        return Some("there are ssl settings that nothing uses: set security.protocol to ssl or sasl_ssl");
    }
    None
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |name: &str| !(name.contains("password") || name.contains("pem") || name.contains("secret"));
        let values = self.values.iter();
        f.debug_map()
            .entries(values.map(|(name, value)| (name, if shown(name) { value } else { "…" })))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SASL: &str = "
        # how to be let in
        security.protocol = sasl_ssl
        sasl.mechanism=SCRAM-SHA-512
        sasl.username=me
        sasl.password=hush=hush
    ";

    #[track_caller]
    fn refused(text: &str, with: &str) {
        let Err(Invalid(said)) = Settings::parse(text) else { panic!("{text} is taken") };
        assert!(said.contains(with), "{said}");
    }

    #[test]
    fn names_and_values_are_taken_and_no_secret_is_shown() {
        let settings = Settings::parse(SASL).unwrap();
        let mut config = ClientConfig::new();
        settings.over(&mut config);
        assert_eq!(config.get("sasl.password"), Some("hush=hush"));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        let shown = format!("{settings:?}");
        assert!(shown.contains("me") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn each_bad_line_is_named_with_what_to_do() {
        refused("acks=1", "line 1: acks is evhub's own to set");
        refused("\ntransactional.id=x", "line 2: transactional.id is evhub's own to set");
        refused("plugin.library.paths=x.so", "plugin.library.paths is evhub's own to set");
        refused("ssl.truststore.location=/x.jks", "use ssl.ca.location");
        refused("sasl.jaas.config=x", "use sasl.username");
        refused("linger.ms=5000", "linger.ms is a number of milliseconds from 0 to 1000");
        refused("linger.ms=soon", "from 0 to 1000");
        refused("sasl.mechanism=GSSAPI", "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
        refused("no.such.thing=1", "the client has no setting no.such.thing");
        refused("socket.keepalive.enable=perhaps", "socket.keepalive.enable cannot have this value");
        refused("linger.ms", "a line is name=value");
        refused("linger.ms=1\nlinger.ms=2", "line 2: linger.ms is there twice");
        refused("sasl.username=me", "set security.protocol to sasl_ssl");
        refused("ssl.ca.location=/x", "set security.protocol to ssl");
        refused("acks=1\nlinger.ms=x", "; line 2");
    }

    #[test]
    fn a_folder_is_settings_file_by_file() {
        let folder = std::env::temp_dir().join(format!("evhub-settings-folder-{}", std::process::id()));
        fs::create_dir_all(folder.join("..data")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("client.properties", "security.protocol=sasl_ssl\nsasl.mechanism=PLAIN\nsasl.username=me\n");
        write("sasl.password", " hush = # hush \n");
        let first = Settings::read(&folder).unwrap();
        assert_eq!(
            first.values["sasl.password"], " hush = # hush ",
            "nothing but the end of the line is taken off"
        );
        assert_eq!(first.values.len(), 4);
        assert_eq!(first.again(), None);
        write("sasl.password", "new");
        let second = first.again().unwrap().unwrap();
        assert_eq!(second.new_credentials(&first), Some(("me", "new")));
        write("linger.ms", "x");
        write("more.properties", "\nsasl.username=you\nno line\n");
        let problems = Settings::read(&folder).unwrap_err().to_string();
        for one in [
            "linger.ms",
            "more.properties line 2: sasl.username is there twice",
            "more.properties line 3: a line is",
        ] {
            assert!(problems.contains(one), "{problems}");
        }
        assert!(!problems.contains("new"), "{problems}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_changed_is_found() {
        let folder = std::env::temp_dir().join(format!("evhub-settings-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, ca) = (folder.join("kafka.properties"), folder.join("ca.pem"));
        assert!(Settings::read(&file).unwrap_err().to_string().contains("cannot be read"));
        let write = |password: &str| {
            let ca = ca.display();
            let text = format!("{SASL}\nssl.ca.location={ca}").replace("hush=hush", password);
            fs::write(&file, text).unwrap();
        };
        write("one");
        let missing = Settings::read(&file).unwrap_err().to_string();
        assert!(missing.contains("ssl.ca.location=") && missing.contains("cannot be read"), "{missing}");
        fs::write(&ca, "a").unwrap();
        let first = Settings::read(&file).unwrap();
        assert_eq!(first.again(), None);
        write("two");
        let second = first.again().unwrap().unwrap();
        assert_eq!(second.new_credentials(&first), Some(("me", "two")));
        fs::write(&ca, "b").unwrap();
        let third = second.again().unwrap().unwrap();
        assert_eq!(third.new_credentials(&second), None, "a certificate needs a new client");
        fs::write(&file, "acks=1").unwrap();
        assert!(third.again().unwrap().is_err());
        assert_eq!(Settings::default().again(), None, "they are from no file");
        fs::remove_dir_all(&folder).unwrap();
    }
}
