//! `baton.toml` and the home folder: read strictly, guarded against loose permissions and a second daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use baton_host::http::is_url;
use baton_host::sgx::aesm::SOCKET;
use serde::{Deserialize, Serialize};

/// The file's name in the home folder.
pub const FILE: &str = "baton.toml";
/// Largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What a node runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name for logs and peers.
    pub name: String,
    /// Where peers and the operator reach this node.
    pub listen: SocketAddr,
    /// URLs of peers.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Certificates that https servers may have beside those that Mozilla lists: a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_roots: Option<PathBuf>,
    /// The chain.
    pub chain: ChainConfig,
    /// Enclaves.
    pub enclave: EnclaveConfig,
    /// What Intel signs about this machine's kind; on hardware joins and receipts need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<CollateralConfig>,
    /// How records get onto the chain; without it peers publish.
    #[serde(default)]
    pub signer: Option<SignerConfig>,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
}

/// Section `chain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Chain id.
    pub id: String,
    /// RPC endpoints, the preferred one first.
    pub rpc: Vec<String>,
    /// Longest wait for one answer, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// More rounds over all endpoints after the first.
    #[serde(default = "retries")]
    pub retries: u32,
    /// How often the chain is looked at, in milliseconds; near a plan's height ten times as often.
    #[serde(default = "poll_ms")]
    pub poll_ms: u64,
    /// The enclaves' trusted head follows at most this many blocks behind.
    #[serde(default = "advance_blocks")]
    pub advance_blocks: u64,
}

/// Section `enclave`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnclaveConfig {
    /// `sim`, `softsgx` or `sgx`.
    pub platform: PlatformName,
    /// Development platforms, and only they: which machine of the development PKI this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_machine: Option<String>,
    /// Development platforms, and only they: what its keys are made from; the same on all nodes of a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_pki_seed: Option<u64>,
    /// Development platforms: each enclave runs in a process of its own, which can be killed apart from the daemon.
    #[serde(default)]
    pub dev_process: bool,
    /// Platform `sgx`: the socket of Intel's AESM service, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aesm_socket: Option<PathBuf>,
}

/// Section `collateral`: a service, or a file that somebody else keeps fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollateralConfig {
    /// A PCCS, or Intel's own API: `https://HOST:8081/sgx/certification/v4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pccs: Option<String>,
    /// The whole address of the root's CRL, where the service does not serve it (Intel's own API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_crl: Option<String>,
    /// Instead of `pccs`: a file with the whole set, JSON of dcap-qvl's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How old a fetched set may be before it is fetched anew.
    #[serde(default = "refresh_hours")]
    pub refresh_hours: u64,
}

/// Where enclaves run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PlatformName {
    /// In process, on software keys.
    Sim,
    /// The real program on a software SGX CPU.
    Softsgx,
    /// The real program on this machine's CPU.
    Sgx,
}

impl PlatformName {
    /// As the file writes it.
    pub fn name(self) -> &'static str {
        match self {
            PlatformName::Sim => "sim",
            PlatformName::Softsgx => "softsgx",
            PlatformName::Sgx => "sgx",
        }
    }

    /// True where the machine and its quotes are made up.
    pub fn is_development(self) -> bool {
        match self {
            PlatformName::Sim | PlatformName::Softsgx => true,
            PlatformName::Sgx => false,
        }
    }
}

/// Section `signer`: the chain's own command, or a key file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// Program and arguments; `{memo}` in one of them becomes the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Longest run of the command, in seconds.
    #[serde(default = "signer_secs")]
    pub timeout_secs: u64,
    /// A secp256k1 key, 64 hexadecimal characters, mode 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyfile: Option<PathBuf>,
    /// Prefix of account addresses.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Denomination of fee and payment.
    #[serde(default = "denom")]
    pub denom: String,
    /// Fee, in base units.
    #[serde(default)]
    pub fee: u64,
    /// Gas limit.
    #[serde(default = "gas")]
    pub gas: u64,
}

/// Section `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// error, warn, info, debug or trace.
    #[serde(default = "level")]
    pub level: String,
    /// `text` or `json`.
    #[serde(default = "format")]
    pub format: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: level(), format: format() }
    }
}

fn timeout_ms() -> u64 {
    5000
}
fn retries() -> u32 {
    1
}
fn poll_ms() -> u64 {
    500
}
fn advance_blocks() -> u64 {
    100
}
fn signer_secs() -> u64 {
    30
}
fn prefix() -> String {
    "cosmos".into()
}
fn denom() -> String {
    "stake".into()
}
fn gas() -> u64 {
    200_000
}
/// How old a fetched set may be by default: Intel signs new parts every few days, valid for a month.
pub fn refresh_hours() -> u64 {
    24
}
fn level() -> String {
    "info".into()
}
fn format() -> String {
    "text".into()
}

/// Why a home is not used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The file system.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No configuration.
    #[error("{0} holds no {FILE}: expected the home of a node; make one with `baton init`")]
    NoConfig(PathBuf),
    /// There is one already.
    #[error("{0} holds a {FILE} already: expected a new folder; edit that file, or name another --home")]
    Exists(PathBuf),
    /// Open to others.
    #[error("{path} has mode {got:03o}: expected at most {most:03o}, so that nobody else reads or writes it; run chmod {most:o} {path}", path = .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        got: u32,
        /// The most it may have.
        most: u32,
    },
    /// Somebody else's.
    #[error("{path} belongs to user {got}: expected {expected}, who owns {home}, so that nobody else changes it; run chown {expected} {path}", path = .path.display(), home = .home.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        got: u32,
        /// The home.
        home: PathBuf,
        /// The home's owner.
        expected: u32,
    },
    /// The home of another user.
    #[error("{home} belongs to user {expected}, this command runs as {got}: expected the same user, or root; run it as that user (sudo -u '#{expected}' baton ...), or chown -R {got} {home}", home = .home.display())]
    Stranger {
        /// The home.
        home: PathBuf,
        /// Who runs.
        got: u32,
        /// The home's owner.
        expected: u32,
    },
    /// The file cannot be read.
    #[error("{path}, line {line}: {reason}; docs/operators.md shows every field", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A second daemon.
    #[error("another process uses {path}: expected one daemon or command at a time; stop the other one, nothing was changed", path = .0.display())]
    Locked(PathBuf),
}

fn io_err(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_path_buf();
    move |source| HomeError::Io { action, path, source }
}

/// A home folder with a configuration that was read.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
    config: Config,
}

/// The lock of a home; dropping it, or dying, lets go.
#[derive(Debug)]
pub struct HomeLock(#[allow(dead_code)] File);

impl Home {
    /// Makes a home with a configuration. What is there already is never overwritten.
    pub fn init(dir: &Path, config: &Config) -> Result<Self, HomeError> {
        let path = dir.join(FILE);
        if path.exists() {
            return Err(HomeError::Exists(dir.into()));
        }
        config.check().map_err(|reason| HomeError::Malformed { path: path.clone(), line: 1, reason })?;
        private_folder(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io_err("chmod", dir))?;
        make_folders(dir)?;
        write_private(&dir.join("operator.token"), (hex::encode(rand::random::<[u8; 32]>()) + "\n").as_bytes())?;
        write_private(&path, commented(config).as_bytes())?;
        Self::open(dir)
    }

    /// Reads a home.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Err(HomeError::NoConfig(dir.into()));
        }
        private_home(dir)?;
        let len = fs::metadata(&path).map_err(io_err("stat", &path))?.len();
        let malformed = |line, reason: String| HomeError::Malformed { path: path.clone(), line, reason };
        if len > MAX_CONFIG_BYTES {
            return Err(malformed(1, format!("expected at most {MAX_CONFIG_BYTES} bytes, got {len}")));
        }
        let text = fs::read_to_string(&path).map_err(io_err("read", &path))?;
        let config: Config = toml::from_str(&text).map_err(|e| {
            let before = e.span().and_then(|s| text.get(..s.start)).unwrap_or_default();
            malformed(before.matches('\n').count() + 1, e.message().into())
        })?;
        config.check().map_err(|reason| malformed(1, reason))?;
        Ok(Home { dir: dir.into(), config })
    }

    /// Takes the home for one process.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(io_err("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(HomeLock(file)),
            Err(fs::TryLockError::WouldBlock) => Err(HomeError::Locked(self.dir.clone())),
            Err(fs::TryLockError::Error(source)) => Err(HomeError::Io { action: "lock", path, source }),
        }
    }

    /// The same, for a daemon: a command that was asked while none ran has the home for a moment, and lets go by itself.
    pub fn lock_within(&self, limit: Duration) -> Result<HomeLock, HomeError> {
        let end = Instant::now() + limit;
        loop {
            match self.lock() {
                Err(HomeError::Locked(_)) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
                other => return other,
            }
        }
    }

    /// Makes the folders that are missing, for a process that has the lock: somebody who takes one away has it back empty, and private.
    pub fn make_folders(&self, _: &HomeLock) -> Result<(), HomeError> {
        make_folders(&self.dir)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What an operator's request must carry.
    pub fn token(&self) -> Result<String, HomeError> {
        let path = self.path("operator.token");
        Ok(fs::read_to_string(&path).map_err(io_err("read", &path))?.trim().into())
    }
}

impl Config {
    fn check(&self) -> Result<(), String> {
        if self.chain.rpc.is_empty() {
            return Err("chain.rpc: expected at least one endpoint, got none".into());
        }
        if self.chain.poll_ms == 0 || self.chain.timeout_ms == 0 || self.chain.advance_blocks == 0 {
            return Err("chain: poll_ms, timeout_ms and advance_blocks must be above 0".into());
        }
        self.enclave.check()?;
        if let Some(c) = &self.collateral {
            c.check()?;
        }
        if let Some(s) = &self.signer
            && s.command.is_some() == s.keyfile.is_some()
        {
            return Err("signer: expected either command or keyfile".into());
        }
        if !["text", "json"].contains(&self.log.format.as_str()) {
            return Err(format!("log.format: expected text or json, got {:?}", self.log.format));
        }
        if self.log.level.parse::<tracing::Level>().is_err() {
            return Err(format!("log.level: expected error, warn, info, debug or trace, got {:?}", self.log.level));
        }
        Ok(())
    }
}

/// What is in a home, and the most permission bits that it may have.
const PRIVATE: &[(&str, u32)] = &[
    (FILE, 0o600),
    ("operator.token", 0o600),
    ("chain.redb", 0o600),
    ("lock", 0o600),
    ("hook.lock", 0o600),
    ("seats", 0o700),
    ("builds", 0o755),
    ("confirmed", 0o700),
    ("plans", 0o700),
    ("orders", 0o700),
    ("vault", 0o700),
];

/// Refuses a home that others could read or change. What decides what is started (`builds`, `confirmed`, `plans`) counts as
/// much as what is secret; a build is public, so its folder may be read.
fn private_home(dir: &Path) -> Result<(), HomeError> {
    let owner = fs::metadata(dir).map_err(io_err("stat", dir))?.uid();
    let me = own_uid();
    if me != 0 && me != owner {
        return Err(HomeError::Stranger { home: dir.into(), got: me, expected: owner });
    }
    at_most(dir, 0o700)?;
    for (name, most) in PRIVATE {
        let path = dir.join(name);
        // What is not there yet is made with the right mode.
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.uid() != owner {
            return Err(HomeError::Owner { path, got: meta.uid(), home: dir.into(), expected: owner });
        }
        at_most(&path, *most)?;
    }
    Ok(())
}

/// The user of this process.
fn own_uid() -> u32 {
    // The kernel's own entry of this process belongs to its effective user.
    fs::metadata("/proc/self").map_or(0, |m| m.uid())
}

impl EnclaveConfig {
    /// Where the AESM service is asked.
    pub fn aesm(&self) -> &Path {
        self.aesm_socket.as_deref().unwrap_or(Path::new(SOCKET))
    }

    fn check(&self) -> Result<(), String> {
        let (dev, name) = (self.dev_machine.is_some() || self.dev_pki_seed.is_some(), self.platform.name());
        match self.platform {
            PlatformName::Sgx if self.dev_process => Err("enclave: dev_process belongs to development platforms; take it out for sgx".into()),
            PlatformName::Sgx if dev => Err("enclave: dev_machine and dev_pki_seed belong to development platforms; take them out for sgx, whose certificates are Intel's".into()),
            PlatformName::Sgx => Ok(()),
            PlatformName::Sim | PlatformName::Softsgx if self.aesm_socket.is_some() => Err(format!("enclave: aesm_socket belongs to platform sgx; take it out for {name}")),
            PlatformName::Sim | PlatformName::Softsgx if self.dev_machine.is_none() || self.dev_pki_seed.is_none() => {
                Err(format!("enclave: platform {name} needs dev_machine and dev_pki_seed; set both, or platform = \"sgx\" on a machine with SGX"))
            }
            PlatformName::Sim | PlatformName::Softsgx => Ok(()),
        }
    }
}

impl CollateralConfig {
    fn check(&self) -> Result<(), String> {
        if self.pccs.is_some() == self.file.is_some() {
            return Err("collateral: expected either pccs or file".into());
        }
        if self.root_crl.is_some() && self.pccs.is_none() {
            return Err("collateral: root_crl belongs to pccs; a file holds the root's CRL itself".into());
        }
        if let Some(bad) = self.pccs.iter().chain(&self.root_crl).find(|u| !is_url(u)) {
            return Err(format!("collateral: expected http:// or https:// and a host, got {bad:?}"));
        }
        match self.refresh_hours {
            0 => Err("collateral: refresh_hours must be above 0".into()),
            _ => Ok(()),
        }
    }
}

/// Refuses a file with more permission bits than `most`.
fn at_most(path: &Path, most: u32) -> Result<(), HomeError> {
    let got = fs::metadata(path).map_err(io_err("stat", path))?.permissions().mode() & 0o777;
    match got & !most {
        0 => Ok(()),
        _ => Err(HomeError::Permissions { path: path.into(), got, most }),
    }
}

/// Makes what a home has inside.
fn make_folders(home: &Path) -> Result<(), HomeError> {
    ["builds", "seats", "vault", "confirmed", "plans", "orders"].iter().try_for_each(|name| private_folder(&home.join(name)))
}

/// Makes a folder that nobody else reads, if it is not there.
pub fn private_folder(path: &Path) -> Result<(), HomeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_err("create", path))
}

/// Writes a file that nobody else reads: new, fsync, rename.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let tmp = path.with_extension("new");
    let mut f = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp).map_err(io_err("create", &tmp))?;
    f.write_all(bytes).and_then(|()| f.sync_all()).map_err(io_err("write", &tmp))?;
    fs::rename(&tmp, path).map_err(io_err("rename", &tmp))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_err("fsync", dir))
}

fn quoted(list: &[String]) -> String {
    let all: Vec<String> = list.iter().map(|s| toml::Value::from(s.as_str()).to_string()).collect();
    format!("[{}]", all.join(", "))
}

/// The file that `baton init` writes: every field, with what it means.
fn commented(c: &Config) -> String {
    let s = |t: &str| toml::Value::from(t).to_string();
    let path = |p: &Path| s(&p.display().to_string());
    let platform = c.enclave.platform.name();
    let machine = match c.enclave.platform {
        PlatformName::Sim | PlatformName::Softsgx => format!(
            "# Development platforms only: which machine this is, and the seed of the network's development PKI.\ndev_machine = {}\ndev_pki_seed = {}\n\
             # Development platforms only: each enclave in a process of its own.\ndev_process = {}\n",
            s(c.enclave.dev_machine.as_deref().unwrap_or_default()), c.enclave.dev_pki_seed.unwrap_or_default(), c.enclave.dev_process
        ),
        PlatformName::Sgx => {
            let socket = c.enclave.aesm_socket.as_ref().map_or_else(|| format!("# aesm_socket = {}\n", s(SOCKET)), |p| format!("aesm_socket = {}\n", path(p)));
            format!("# The socket of Intel's AESM service, which makes quotes. A handover on one machine needs none.\n{socket}")
        }
    };
    let tls_roots = c.tls_roots.as_ref().map_or_else(|| "# tls_roots = \"/etc/baton/roots.pem\"\n".into(), |p| format!("tls_roots = {}\n", path(p)));
    let collateral = match &c.collateral {
        None => "# [collateral]\n# pccs = \"https://localhost:8081/sgx/certification/v4\"\n# root_crl = \"https://certificates.trustedservices.intel.com/IntelSGXRootCA.der\"   # where pccs is Intel's own API, which does not serve it\n# file = \"/path/to/collateral.json\"   # instead of pccs: somebody else keeps it fresh\n# refresh_hours = 24\n".into(),
        Some(c) => {
            let line = |name: &str, value: Option<String>| value.map(|v| format!("{name} = {v}\n")).unwrap_or_default();
            format!(
                "[collateral]\n{}{}{}refresh_hours = {}\n",
                line("pccs", c.pccs.as_deref().map(s)), line("root_crl", c.root_crl.as_deref().map(s)), line("file", c.file.as_deref().map(path)), c.refresh_hours
            )
        }
    };
    let signer = match &c.signer {
        Some(SignerConfig { command: Some(argv), timeout_secs, .. }) => {
            format!("[signer]\ncommand = {}\ntimeout_secs = {timeout_secs}\n", quoted(argv))
        }
        Some(SignerConfig { keyfile: Some(file), prefix, denom, fee, gas, .. }) => format!(
            "[signer]\nkeyfile = {}\nprefix = {}\ndenom = {}\nfee = {fee}\ngas = {gas}\n",
            s(&file.display().to_string()), s(prefix), s(denom)
        ),
        _ => "# [signer]\n# command = [\"testchaind\", \"tx\", \"bank\", \"send\", \"FROM\", \"TO\", \"1stake\", \"--note\", \"{memo}\", \"--yes\", \"--output\", \"json\"]\n# timeout_secs = 30\n# keyfile = \"/path/to/key\"   # instead of command: secp256k1, 64 hexadecimal characters, mode 0600\n# prefix = \"cosmos\"\n# denom = \"stake\"\n# fee = 0\n# gas = 200000\n".into(),
    };
    format!(
        "# A Baton node. Unknown fields are refused.\n\n\
         # Name in logs and for peers.\nname = {}\n\
         # Peers and the operator's commands speak to this address. Loopback by default: put a tunnel between machines.\nlisten = \"{}\"\n\
         # Other nodes of the network: they give the keyring to a new machine, keep evidence for a late one, publish records\n\
         # for a node without funds, and show their receipts.\npeers = {}\n\
         # https servers (RPC endpoints, peers, PCCS) may have these certificates too, beside those that Mozilla lists: a PEM file.\n{tls_roots}\n\
         [chain]\nid = {}\n# RPC endpoints, the preferred one first. An endpoint that answers wrongly is named in the log and passed over.\nrpc = {}\n\
         # Longest wait for one answer, and how many more rounds over all endpoints.\ntimeout_ms = {}\nretries = {}\n\
         # How often the chain is looked at; near a plan's height ten times as often.\npoll_ms = {}\n\
         # The enclaves' trusted head follows at most this many blocks behind.\nadvance_blocks = {}\n\n\
         [enclave]\n# sim: in process, for tests. softsgx: the real program on a software CPU, for tests. sgx: on this machine's CPU.\nplatform = \"{platform}\"\n{machine}\n\
         # Where this machine's collateral comes from. On sgx joins and receipts need it, a handover on one machine does not;\n\
         # development platforms make their own where this section is left out.\n{collateral}\n\
         # How this node's records get onto the chain: the chain's own command, or a key file. Without it peers publish.\n{signer}\n\
         [log]\n# error, warn, info, debug or trace\nlevel = {}\n# text or json, on stderr\nformat = {}\n",
        s(&c.name), c.listen, quoted(&c.peers), s(&c.chain.id), quoted(&c.chain.rpc), c.chain.timeout_ms, c.chain.retries,
        c.chain.poll_ms, c.chain.advance_blocks, s(&c.log.level), s(&c.log.format),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config() -> Config {
        Config {
            name: "node0".into(),
            listen: ([127, 0, 0, 1], 7710).into(),
            peers: vec!["http://127.0.0.1:7711".into()],
            chain: ChainConfig {
                id: "c-1".into(),
                rpc: vec!["http://127.0.0.1:26657".into()],
                timeout_ms: timeout_ms(),
                retries: retries(),
                poll_ms: poll_ms(),
                advance_blocks: advance_blocks(),
            },
            tls_roots: None,
            enclave: EnclaveConfig { platform: PlatformName::Sim, dev_machine: Some("m".into()), dev_pki_seed: Some(1), dev_process: false, aesm_socket: None },
            collateral: None,
            signer: None,
            log: LogConfig::default(),
        }
    }

    #[test]
    fn what_init_writes_reads_back_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = config();
        let home = Home::init(&dir.path().join("a"), &c).unwrap();
        assert_eq!(*home.config(), c);
        c.enclave.dev_process = true;
        c.signer = Some(SignerConfig {
            command: Some(vec!["x".into(), "{memo}".into(), "a \"b\"".into()]),
            timeout_secs: 7, keyfile: None, prefix: prefix(), denom: denom(), fee: 0, gas: gas(),
        });
        assert_eq!(*Home::init(&dir.path().join("b"), &c).unwrap().config(), c);
        c.signer = Some(SignerConfig { command: None, timeout_secs: 30, keyfile: Some("/k".into()), prefix: "x".into(), denom: "y".into(), fee: 3, gas: 4 });
        assert_eq!(*Home::init(&dir.path().join("c"), &c).unwrap().config(), c);
    }

    #[test]
    fn what_init_writes_for_hardware_reads_back_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let hard = |aesm_socket| EnclaveConfig { platform: PlatformName::Sgx, dev_machine: None, dev_pki_seed: None, dev_process: false, aesm_socket };
        let service = CollateralConfig { pccs: Some("https://pccs:8081".into()), root_crl: Some("https://x/y.der".into()), file: None, refresh_hours: 6 };
        let file = CollateralConfig { pccs: None, root_crl: None, file: Some("/c.json".into()), refresh_hours: 24 };
        for (i, (socket, collateral)) in [(None, None), (Some("/run/a".into()), Some(service)), (None, Some(file))].into_iter().enumerate() {
            let c = Config { enclave: hard(socket), collateral, tls_roots: Some("/r.pem".into()), ..config() };
            assert_eq!(*Home::init(&dir.path().join(i.to_string()), &c).unwrap().config(), c);
        }
    }

    #[test]
    fn development_fields_on_hardware_and_the_reverse_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dev = config().enclave;
        let service = |pccs: Option<&str>, root_crl: Option<&str>, refresh_hours| CollateralConfig { pccs: pccs.map(Into::into), root_crl: root_crl.map(Into::into), file: None, refresh_hours };
        let with = |enclave, collateral| Config { enclave, collateral, ..config() };
        for (i, (c, says)) in [
            (with(EnclaveConfig { platform: PlatformName::Sgx, ..dev.clone() }, None), "take them out for sgx"),
            (with(EnclaveConfig { dev_machine: None, ..dev.clone() }, None), "platform sim needs dev_machine"),
            (with(EnclaveConfig { aesm_socket: Some("/s".into()), ..dev.clone() }, None), "aesm_socket belongs to platform sgx"),
            (with(dev.clone(), Some(service(None, None, 1))), "either pccs or file"),
            (with(dev.clone(), Some(service(Some("pccs:8081"), None, 1))), "http:// or https://"),
            (with(dev.clone(), Some(service(Some("https://p"), None, 0))), "above 0"),
        ].into_iter().enumerate() {
            let home = dir.path().join(i.to_string());
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            write_private(&home.join(FILE), toml::to_string(&c).unwrap().as_bytes()).unwrap();
            let said = Home::open(&home).unwrap_err().to_string();
            assert!(said.contains(says), "{says}: {said}");
        }
    }

    #[test]
    fn init_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        Home::init(dir.path(), &config()).unwrap();
        let before = fs::read(dir.path().join(FILE)).unwrap();
        assert!(matches!(Home::init(dir.path(), &Config { name: "other".into(), ..config() }), Err(HomeError::Exists(_))));
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), before);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        Home::init(dir.path(), &config()).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "colour = \"red\"\n").unwrap();
        let err = Home::open(dir.path()).unwrap_err().to_string();
        assert!(err.contains("unknown field `colour`") && err.contains(", line "), "{err}");
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused_and_the_error_says_chown() {
        if own_uid() != 0 {
            return; // Only root can give a file away.
        }
        let dir = tempfile::tempdir().unwrap();
        Home::init(dir.path(), &config()).unwrap();
        for name in [FILE, "operator.token", "seats", "builds", "confirmed", "plans", "orders"] {
            let path = dir.path().join(name);
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            let err = Home::open(dir.path()).unwrap_err();
            assert!(matches!(err, HomeError::Owner { got: 12_345, .. }) && err.to_string().contains("chown 0 "), "{err}");
            std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        }
        // A home that is another user's as a whole is that user's; root may look at it.
        for name in ["", FILE, "operator.token", "seats", "builds", "confirmed", "plans", "orders", "vault"] {
            std::os::unix::fs::chown(dir.path().join(name), Some(12_345), None).unwrap();
        }
        Home::open(dir.path()).unwrap();
    }

    #[test]
    fn loose_permissions_are_refused_and_the_error_says_chmod() {
        let dir = tempfile::tempdir().unwrap();
        Home::init(dir.path(), &config()).unwrap();
        fs::write(dir.path().join("chain.redb"), "").unwrap();
        fs::set_permissions(dir.path().join("chain.redb"), fs::Permissions::from_mode(0o600)).unwrap();
        let folders = ["seats", "confirmed", "plans", "orders", "vault"].map(|f| (f, 0o750));
        let looser = [("", 0o755), (FILE, 0o644), ("operator.token", 0o640), ("chain.redb", 0o644), ("builds", 0o775)];
        for (name, mode) in looser.into_iter().chain(folders) {
            let path = dir.path().join(name);
            let good = fs::metadata(&path).unwrap().permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let err = Home::open(dir.path()).unwrap_err();
            assert!(matches!(err, HomeError::Permissions { got, .. } if got == mode), "{err}");
            assert!(err.to_string().contains("chmod"), "{err}");
            fs::set_permissions(&path, good).unwrap();
        }
        Home::open(dir.path()).unwrap();
    }

    #[test]
    fn folders_that_were_taken_away_come_back_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::init(dir.path(), &config()).unwrap();
        for name in ["seats", "plans", "confirmed"] {
            fs::remove_dir(dir.path().join(name)).unwrap();
        }
        home.make_folders(&home.lock().unwrap()).unwrap();
        for name in ["builds", "seats", "vault", "confirmed", "plans", "orders"] {
            assert_eq!(fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777, 0o700, "{name}");
        }
        Home::open(dir.path()).unwrap();
    }

    #[test]
    fn a_second_process_does_not_get_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::init(dir.path(), &config()).unwrap();
        let held = home.lock().unwrap();
        assert!(matches!(home.lock(), Err(HomeError::Locked(_))));
        assert!(matches!(home.lock_within(Duration::from_millis(1)), Err(HomeError::Locked(_))));
        // A daemon waits for a command that lets go.
        let soon = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        home.lock_within(Duration::from_secs(60)).unwrap();
        soon.join().unwrap();
    }
}
