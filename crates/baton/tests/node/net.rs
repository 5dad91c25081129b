//! A network of daemons over the devnet's RPC: each node is the real program in a home of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use baton_devnet::rpc::RpcServer;
use baton_devnet::{Account, Config, Devnet, Text, YES};
use serde_json::Value;

/// Longest wait for anything that should come.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Net {
    pub dir: tempfile::TempDir,
    pub rpc: Arc<RpcServer>,
    pub nodes: Vec<Daemon>,
    stop: Arc<AtomicBool>,
    maker: Option<std::thread::JoinHandle<()>>,
    slow: Arc<std::sync::atomic::AtomicU64>,
}

pub struct Daemon {
    pub home: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "\n{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.code, 1, "\n{}{}", self.out, self.err);
        format!("{}{}", self.out, self.err)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("not JSON ({e}): {}{}", self.out, self.err))
    }
}

/// Runs the command.
pub fn baton(args: &[&str]) -> Ran {
    let done = Command::new(env!("CARGO_BIN_EXE_baton")).args(args).output().expect("the binary runs");
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

impl Net {
    /// A chain of 4 validators that makes a block each 100 ms, and `n` homes; the first has an account.
    pub fn new(n: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut chain = Devnet::new(Config { block_interval_ms: 2000, ..Config::default() }).expect("a chain");
        chain.produce_until(3).expect("blocks");
        let rpc = Arc::new(RpcServer::start(Arc::new(Mutex::new(chain))).expect("a server"));
        let ports: Vec<u16> = (0..n).map(|_| free_port()).collect();
        let mut net = Net {
            dir,
            rpc,
            nodes: Vec::new(),
            stop: Arc::default(),
            maker: None,
            slow: Arc::new(u64::MAX.into()),
        };
        for (i, port) in ports.iter().enumerate() {
            net.init(i, *port, &ports);
        }
        let (rpc, stop, slow) = (net.rpc.clone(), net.stop.clone(), net.slow.clone());
        net.maker = Some(std::thread::spawn(move || {
            let mut last = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100));
                let mut chain = rpc.chain();
                let slowly = chain.height() >= slow.load(Ordering::Relaxed) && last.elapsed() < Duration::from_secs(2);
                if chain.halted().is_none() && !slowly {
                    chain.produce_block().expect("a block");
                    last = Instant::now();
                }
            }
        }));
        net
    }

    fn init(&mut self, i: usize, port: u16, ports: &[u16]) {
        let home = self.dir.path().join(format!("node{i}"));
        let listen = format!("127.0.0.1:{port}");
        let url = self.rpc.url();
        let peers: Vec<String> = ports.iter().filter(|p| **p != port).map(|p| format!("http://127.0.0.1:{p}")).collect();
        let mut args = vec!["init", "--home", text(&home), "--chain-id", "baton-devnet-1", "--rpc", &url, "--listen", &listen, "--poll-ms", "100", "--advance-blocks", "10"];
        args.extend(peers.iter().flat_map(|p| ["--peer", p.as_str()]));
        let key = self.dir.path().join(format!("key{i}"));
        // Only the first two have an account: the others' records are published by them.
        if i < 2 {
            let secret = self.rpc.chain().account_secret(Account::User(i));
            std::fs::write(&key, hex::encode(secret)).expect("a key");
            private(&key);
            args.extend(["--keyfile", text(&key)]);
        }
        baton(&args).ok();
        self.nodes.push(Daemon { home, port, child: None });
    }

    /// Puts a build into a home.
    pub fn install(&self, i: usize, build: &Path) {
        let to = self.nodes[i].home.join("builds").join(build.file_name().expect("a name"));
        std::fs::copy(build, &to).expect("a copy");
        std::fs::copy(build.with_extension("sig"), to.with_extension("sig")).expect("a copy");
    }

    /// Makes a build of this network.
    pub fn build(&self, version: &str, svn: u16, commitment: Option<&str>) -> PathBuf {
        self.build_with(version, svn, commitment, "")
    }

    /// The same with more sections in its policy.
    pub fn build_with(&self, version: &str, svn: u16, commitment: Option<&str>, sections: &str) -> PathBuf {
        self.build_as(version, svn, commitment, |policy| policy + sections)
    }

    /// The same with a policy that was edited.
    pub fn build_as(&self, version: &str, svn: u16, commitment: Option<&str>, edit: impl Fn(String) -> String) -> PathBuf {
        let (policy, out) = (self.dir.path().join(format!("{version}.toml")), self.dir.path().join(format!("{version}.sgxs")));
        let url = self.rpc.url();
        let mut args = vec![
            "policy", "new", "--rpc", &url, "--chain-id", "baton-devnet-1", "--dev-pki-seed", "1", "--admission", "any",
            "--lead-blocks", "60", "--grace-blocks", "5", "--out", text(&policy),
        ];
        if let Some(c) = commitment {
            args.extend(["--commitment", c]);
        }
        baton(&args).ok();
        let edited = edit(std::fs::read_to_string(&policy).expect("a policy"));
        std::fs::write(&policy, edited).expect("a policy");
        let svn = svn.to_string();
        baton(&["sim-build", "--version", version, "--policy", text(&policy), "--svn", &svn, "--out", text(&out)]).ok();
        out
    }

    pub fn start(&mut self, i: usize) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join(format!("node{i}.log"))).expect("a log");
        let d = &mut self.nodes[i];
        let child = Command::new(env!("CARGO_BIN_EXE_baton"))
            .args(["node", "--home", text(&d.home)])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        d.child = Some(child);
        self.until(i, "answers", |_| true);
    }

    /// The daemon's process.
    pub fn pid(&self, i: usize) -> u32 {
        self.nodes[i].child.as_ref().expect("it runs").id()
    }

    /// SIGKILL.
    pub fn kill(&mut self, i: usize) {
        if let Some(mut child) = self.nodes[i].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; the exit code.
    pub fn terminate(&mut self, i: usize) -> Option<i32> {
        let mut child = self.nodes[i].child.take().expect("it runs");
        let done = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
        assert!(done.success());
        child.wait().expect("it ends").code()
    }

    /// A node's command.
    pub fn run(&self, i: usize, args: &[&str]) -> Ran {
        let split = args.iter().position(|a| *a == "--").unwrap_or(args.len());
        let mut all = args[..split].to_vec();
        all.extend(["--home", text(&self.nodes[i].home)]);
        all.extend(&args[split..]);
        baton(&all)
    }

    pub fn json(&self, i: usize, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.push("--json");
        self.run(i, &all).ok().json()
    }

    /// What a daemon's page says, if it answers.
    pub fn page(&self, i: usize, path: &str) -> Option<(u16, String)> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(5))).build().new_agent();
        let mut answer = agent.get(format!("http://127.0.0.1:{}{path}", self.nodes[i].port)).call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
    }

    pub fn status(&self, i: usize) -> Option<Value> {
        serde_json::from_str(&self.page(i, "/v1/status")?.1).ok()
    }

    /// Waits until a node's status says so.
    #[track_caller]
    pub fn until(&self, i: usize, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status(i);
            if let Some(s) = status.as_ref().filter(|s| !s.is_null() && is(s)) {
                return s.clone();
            }
            assert!(Instant::now() < end, "node{i} never {what}:\n{status:#?}\n{}", self.log(i));
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a page answers with a code; what it says then.
    pub fn until_page(&self, i: usize, path: &str, code: u16) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let got = self.page(i, path).unwrap();
            if got.0 == code {
                return got.1;
            }
            assert!(Instant::now() < end, "{path} of node{i} never {code}: {got:?}\n{}", self.log(i));
            sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self, i: usize) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("node{i}.log"))).unwrap_or_default()
    }

    pub fn height(&self) -> u64 {
        self.rpc.chain().height()
    }

    /// Proposes a build for a height, and lets it pass; the chain stops at `cap` if that is set.
    pub fn vote(&self, plan: &str, in_blocks: u64, build: &Path) -> u64 {
        let file = self.dir.path().join(format!("{plan}.json"));
        let made = baton(&["proposal", "new", "--plan", plan, "--height", "1", "--build", text(build), "--out", text(&file)]).ok();
        drop(made);
        let json: Value = serde_json::from_slice(&std::fs::read(&file).expect("a proposal")).expect("JSON");
        let info = json["messages"][0]["plan"]["info"].as_str().expect("info").to_string();
        let mut chain = self.rpc.chain();
        let height = chain.height() + 65 + in_blocks;
        let message = Devnet::upgrade_message(plan, height, &info);
        let id = chain.propose(vec![message], &Text::titled(plan), false).expect("blocks").expect("a proposal");
        chain.carry(id, YES).expect("blocks");
        assert_eq!(chain.proposal(id).expect("it").status, 3, "PASSED");
        assert!(chain.height() < height, "{} {height}", chain.height());
        // However slow this machine is, the plan's height comes when the test waits for it.
        self.slow_from(height.saturating_sub(30));
        height
    }

    /// Above this height blocks come slowly, until a test waits for one.
    pub fn slow_from(&self, height: u64) {
        self.slow.store(height, Ordering::Relaxed);
    }

    /// The new binary runs the plan.
    pub fn resume(&self, plan: &str) {
        self.rpc.chain().resume_with_handler(plan).expect("a halted chain");
    }

    /// Waits for a height.
    pub fn wait_height(&self, height: u64) {
        self.slow_from(u64::MAX);
        let end = Instant::now() + PATIENCE;
        while self.height() < height {
            assert!(Instant::now() < end, "the chain stands at {}", self.height());
            sleep(Duration::from_millis(50));
        }
    }

}

pub fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
}

/// The seat of a build in a status.
pub fn seat<'v>(status: &'v Value, build: &str) -> &'v Value {
    let found = status["seats"].as_array().into_iter().flatten().find(|s| s["build"] == build);
    found.unwrap_or(&Value::Null)
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for i in 0..self.nodes.len() {
            self.kill(i);
        }
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}
