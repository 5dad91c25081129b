//! This machine's collateral: fetched from a service and kept in the home, read from a file, or made on a development platform.
//!
//! Joins and receipts carry it; a handover on one machine does not, and so nothing here may stand in its way. The service is asked
//! on a thread of its own, never by a step that hands over. What was kept stays in use until something better is here: a service that
//! is down for a week costs nothing as long as what Intel signed is valid.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use baton_attest::quote::{Collateral, MAX_COLLATERAL_LEN};
use baton_chain::record::Kind;
use baton_core::messages::Attestation;
use baton_host::collateral::{FetchError, Pccs};
use baton_host::http::Roots;
use baton_host::relay::{self, Channel};
use serde_json::{Value, json};

use super::config::{CollateralConfig, Home, write_private};
use super::{Done, Node};

/// The file's name in the home.
pub const FILE: &str = "collateral.json";
/// After a try that failed, the next one: a quote may cost its time limit, and what is kept serves meanwhile.
const AGAIN: Duration = Duration::from_secs(600);
/// The same where nothing is kept yet and only the service has to be asked.
const SOON: Duration = Duration::from_secs(20);
/// Longest that a command waits for the first set: four answers and a quote.
const FIRST: Duration = Duration::from_secs(75);

enum Source {
    /// None is configured: a development platform makes its own.
    Own,
    File(PathBuf),
    Service { pccs: Pccs, every: Duration },
}

/// Keeps collateral fresh.
pub(super) struct Keeper {
    source: Source,
    kept: PathBuf,
    /// A quote of this machine: it says which kind of machine to ask for, and that stays.
    quote: Option<Vec<u8>>,
    fetching: Option<Receiver<Result<Collateral, FetchError>>>,
    tried: Option<Instant>,
    error: Option<String>,
}

impl Keeper {
    /// As a home's configuration says.
    pub(super) fn new(home: &Home, roots: &Roots) -> Result<Self> {
        let source = match &home.config().collateral {
            None => Source::Own,
            Some(CollateralConfig { file: Some(file), .. }) => Source::File(file.clone()),
            Some(CollateralConfig { pccs, root_crl, refresh_hours, .. }) => Source::Service {
                pccs: Pccs::new(pccs.as_deref().unwrap_or_default(), root_crl.as_deref(), roots).context("section collateral")?,
                every: Duration::from_secs(refresh_hours.saturating_mul(3600)),
            },
        };
        Ok(Keeper { source, kept: home.path(FILE), quote: None, fetching: None, tried: None, error: None })
    }

    fn file(&self) -> &PathBuf {
        match &self.source {
            Source::File(file) => file,
            Source::Own | Source::Service { .. } => &self.kept,
        }
    }

    fn age(&self) -> Option<Duration> {
        let written = fs::metadata(self.file()).and_then(|m| m.modified()).ok()?;
        Some(SystemTime::now().duration_since(written).unwrap_or_default())
    }

    fn read(&self) -> Result<Vec<u8>> {
        let (file, next) = (self.file(), "joins and receipts need it, a handover on this machine does not");
        let bytes = crate::files::read(file, "collateral", MAX_COLLATERAL_LEN).map_err(|e| match (&self.source, &self.error) {
            (Source::Service { pccs, .. }, Some(why)) => anyhow::anyhow!("no collateral yet: {} was asked, and {why}; {next}", pccs.url()),
            (Source::Service { pccs, .. }, None) => anyhow::anyhow!("no collateral yet: {} is asked once an enclave runs and this machine quotes; {next}", pccs.url()),
            _ => anyhow::anyhow!("{}; {next}", e.to_string().trim()),
        })?;
        Collateral::from_json(&bytes).with_context(|| format!("{}; remove it, and it is fetched anew", file.display()))?;
        Ok(bytes)
    }

    /// Takes what the thread brought, waiting for at most `wait`.
    fn take(&mut self, wait: Duration) -> Result<Vec<Done>> {
        let Some(fetching) = &self.fetching else { return Ok(Vec::new()) };
        let got = match (wait.is_zero(), fetching.try_recv()) {
            (false, Err(TryRecvError::Empty)) => fetching.recv_timeout(wait),
            (true, Err(TryRecvError::Empty)) => Err(RecvTimeoutError::Timeout),
            (_, Err(TryRecvError::Disconnected)) => Err(RecvTimeoutError::Disconnected),
            (_, Ok(got)) => Ok(got),
        };
        let got = match got {
            Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => Err("the thread that asked is gone".to_string()),
            Ok(got) => got.map_err(|e| e.to_string()),
        };
        self.fetching = None;
        match got {
            Ok(set) => {
                // On disk is either the old set or the new one, whenever this process dies.
                write_private(&self.kept, set.to_json().as_bytes())?;
                self.error = None;
                Ok(vec![Done { step: "collateral", text: format!("fetched for this machine, kept in {}", self.kept.display()) }])
            }
            Err(e) => {
                self.failed(e);
                Ok(Vec::new())
            }
        }
    }

    /// The operator sees it in `status`; it is logged when it changes.
    fn failed(&mut self, text: String) {
        if self.error.as_ref() != Some(&text) {
            tracing::warn!(step = "collateral", "{text}");
        }
        self.error = Some(text);
    }

    /// True if the service should be asked now.
    fn is_due(&self) -> bool {
        let Source::Service { every, .. } = &self.source else { return false };
        let pause = if self.quote.is_some() && self.age().is_none() { SOON } else { AGAIN };
        let rests = self.tried.is_some_and(|t| t.elapsed() < pause);
        self.fetching.is_none() && !rests && self.age().is_none_or(|age| age >= *every)
    }

    /// Asks, on a thread that nobody waits for.
    fn ask(&mut self, quote: Vec<u8>) {
        let Source::Service { pccs, .. } = &self.source else { return };
        let (pccs, (done, fetching)) = (pccs.clone(), channel());
        self.quote = Some(quote.clone());
        std::thread::spawn(move || {
            let _ = done.send(pccs.fetch(&quote));
        });
        self.fetching = Some(fetching);
    }

    /// For `status`; nothing where a development platform makes its own.
    pub(super) fn status(&self) -> Value {
        let (source, of) = match &self.source {
            Source::Own => return Value::Null,
            Source::File(file) => ("file", file.display().to_string()),
            Source::Service { pccs, .. } => ("pccs", pccs.url().to_string()),
        };
        json!({"source": source, "from": of, "age_secs": self.age().map(|a| a.as_secs()), "error": self.error})
    }
}

impl Node {
    /// This machine's collateral, as the enclaves are given it. It waits for nobody.
    pub(super) fn collateral(&self) -> Result<Vec<u8>> {
        if !matches!(self.keeper.source, Source::Own) {
            return self.keeper.read();
        }
        let time = self.block_time()?;
        self.here.own_collateral(time).unwrap_or_else(|| {
            bail!("no collateral is configured: expected the section [collateral] with pccs or file in baton.toml; joins and receipts need it, a handover on this machine does not")
        })
    }

    /// A quote of one of the builds here over a canary's request: nothing is given, and nothing changes.
    pub(super) fn canary_quote(&mut self, index: usize) -> Result<Vec<u8>> {
        let place = self.at(index)?;
        let hello = relay::hello(&mut place.seat)?;
        let machine = place.seat.launcher().platform_id();
        // What would be shown with the quote is of no account here.
        let asked = relay::answer_hello(&mut place.seat, hello, Kind::Rehearsal, Channel::Quoted { collateral: &[] }, machine)?;
        match asked.attestation {
            Attestation::Quoted { quote, .. } => Ok(quote),
            Attestation::Local { .. } => bail!("the enclave gave a report, expected a quote"),
        }
    }

    /// Waits for the first set, where a command cannot go on without one.
    pub(super) fn await_collateral(&mut self) -> Result<()> {
        if matches!(self.keeper.source, Source::Service { .. }) && self.keeper.age().is_none() {
            if self.keeper.fetching.is_none() {
                self.keeper.tried = None;
            }
            refresh(self)?;
            self.keeper.take(FIRST)?;
            self.dates.look_again();
        }
        Ok(())
    }
}

/// Takes a set that came, and asks for the next one when it is time. A handover that waits for its record goes first, because a
/// quote by a service that hangs costs its time limit.
pub(super) fn refresh(node: &mut Node) -> Result<Vec<Done>> {
    let done = node.keeper.take(Duration::ZERO)?;
    if !done.is_empty() {
        node.dates.look_again();
    }
    let running = |p: &super::Place| p.seat.is_running();
    if node.waiting.is_some() || !node.keeper.is_due() || !node.places.iter().any(running) {
        return Ok(done);
    }
    node.keeper.tried = Some(Instant::now());
    let index = node.holder().or_else(|| node.places.iter().position(running)).unwrap_or(0);
    let quote = match node.keeper.quote.clone() {
        Some(quote) => Ok(quote),
        None => node.canary_quote(index),
    };
    match quote {
        Ok(quote) => node.keeper.ask(quote),
        Err(e) => node.keeper.failed(format!("this machine does not quote: {e:#}")),
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::tests::config;
    use baton_attest::pki::CollateralSpec;

    fn keeper(collateral: CollateralConfig) -> (Keeper, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::init(&dir.path().join("home"), &crate::node::config::Config { collateral: Some(collateral), ..config() }).unwrap();
        (Keeper::new(&home, &Roots::default()).unwrap(), dir)
    }

    fn service() -> CollateralConfig {
        CollateralConfig { pccs: Some("http://127.0.0.1:9".into()), root_crl: None, file: None, refresh_hours: 1 }
    }

    fn set() -> Collateral {
        crate::node::machine::dev_pki(1).unwrap().collateral(&CollateralSpec::at(1_800_000_000)).unwrap()
    }

    fn arrives(keeper: &mut Keeper, got: Result<Collateral, FetchError>) -> Vec<Done> {
        let (send, fetching) = channel();
        keeper.fetching = Some(fetching);
        assert_eq!(keeper.take(Duration::ZERO).unwrap(), []);
        send.send(got).unwrap();
        keeper.take(Duration::ZERO).unwrap()
    }

    #[test]
    fn h23_what_was_kept_is_used_while_the_service_is_down() {
        let (mut k, _dir) = keeper(service());
        assert!(k.is_due());
        let said = k.read().unwrap_err().to_string();
        assert!(said.contains("a handover on this machine does not"), "{said}");
        assert_eq!(arrives(&mut k, Ok(set())).len(), 1);
        assert_eq!(k.read().unwrap(), set().to_json().as_bytes());
        assert!(!k.is_due(), "it is fresh");
        let old = SystemTime::now() - Duration::from_secs(7200);
        fs::File::open(&k.kept).unwrap().set_modified(old).unwrap();
        assert!(k.is_due(), "after refresh_hours it is asked for anew");
        assert_eq!(arrives(&mut k, Err(FetchError::Url("x".into()))), []);
        assert_eq!(k.read().unwrap(), set().to_json().as_bytes());
        assert!(k.status()["error"].as_str().unwrap().contains("PCCS"));
        k.tried = Some(Instant::now());
        assert!(!k.is_due(), "a service that is down is not asked with every tick");
    }

    #[test]
    fn a_service_that_never_answered_is_named_with_its_reason() {
        let (mut k, _dir) = keeper(service());
        arrives(&mut k, Err(FetchError::Url("x".into())));
        let said = k.read().unwrap_err().to_string();
        assert!(said.contains("http://127.0.0.1:9") && said.contains("PCCS \"x\""), "{said}");
    }

    #[test]
    fn a_file_is_read_as_it_is_and_never_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.json");
        let (k, _dir) = keeper(CollateralConfig { pccs: None, root_crl: None, file: Some(file.clone()), refresh_hours: 24 });
        assert!(k.read().is_err() && !k.is_due());
        fs::write(&file, "{}").unwrap();
        assert!(k.read().is_err());
        fs::write(&file, set().to_json()).unwrap();
        assert_eq!(k.read().unwrap(), set().to_json().as_bytes());
    }
}
