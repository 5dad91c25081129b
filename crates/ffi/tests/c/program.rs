//! The C program as a child process: compiled once, started for each launch, killed like an enclave.

use std::cell::Cell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;

use baton_attest::identity::{PlatformId, encode};
use baton_attest::keyrequest::{KeyRequest, key_name};
use baton_attest::report::TargetInfo;
use baton_core::platform::{Platform, PlatformError};
use baton_enclave::link::{Opened, Opening};
use baton_enclave::sim::{Image, Launch, Machine, SimPlatform};
use baton_host::link::{EnclaveLink, Launcher, LinkError};
use baton_host::seat::SeatError;

/// The archive: BATON_ARCHIVE, or the newest that stands beside this test.
fn archive() -> PathBuf {
    if let Some(path) = std::env::var_os("BATON_ARCHIVE") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let deps = own.parent().unwrap();
    let made = deps.read_dir().unwrap().chain(deps.parent().unwrap().read_dir().unwrap());
    let archives = made.map(|e| e.unwrap().path()).filter(|p| {
        let name = p.file_name().unwrap().to_string_lossy();
        name.starts_with("libbaton_ffi") && name.ends_with(".a")
    });
    let newest = archives.max_by_key(|p| p.metadata().and_then(|m| m.modified()).unwrap());
    newest.unwrap_or_else(|| panic!("no libbaton_ffi*.a in {}: build the whole package, cargo test -p libbaton", deps.display()))
}

/// The compiled program.
pub fn embedder() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/embedder.c");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("embedder-{}", std::process::id()));
        let archive = archive();
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-o"]).arg(&out).arg(&source).arg(&archive);
        if cfg!(target_os = "linux") {
            // What an ordinary build's std asks for; the archive without std asks for nothing.
            cc.args(["-lgcc_s", "-lpthread", "-ldl", "-lm"]);
        }
        let made = cc.output().expect("a C compiler named cc");
        assert!(made.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&made.stderr));
        println!("linked with {}", archive.display());
        out
    })
}

/// A machine whose enclaves of this launcher are C programs.
pub struct InC {
    machine: Rc<Machine>,
    /// Frames of the program after which it is killed; none: never.
    pub fuse: Rc<Cell<Option<u32>>>,
    most_heap: Rc<Cell<u64>>,
}

/// Stack that a program gets, in KiB: what docs/embedding.md asks an enclave to have.
const STACK_KIB: &str = "256";

impl InC {
    pub fn new(machine: &Rc<Machine>) -> Self {
        InC { machine: machine.clone(), fuse: Rc::default(), most_heap: Rc::default() }
    }

    /// The largest heap that a program of this launcher had, in bytes. An ordinary build uses std's allocator, and says 0.
    pub fn most_heap(&self) -> u64 {
        self.most_heap.get()
    }

    /// Starts the program with the policy in an image's measured pages.
    pub fn spawn(&self, image: &Image, how: &Launch) -> Program {
        let (platform, policy) = self.machine.launch(image, how).unwrap();
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -s \"$1\" && exec \"$0\""]).arg(embedder()).arg(STACK_KIB);
        let child = limited.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut program = Program { child, platform, fuse: self.fuse.clone(), most_heap: self.most_heap.clone() };
        assert_eq!(program.ask(b'P', &policy.to_cbor()).unwrap(), (0, Vec::new()));
        program
    }
}

impl Launcher for InC {
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        let mut program = self.spawn(image, how);
        let (code, answer) = program.ask(b'O', &encode(opening))?;
        match minicbor::decode(&answer).unwrap() {
            Opened::Started => {
                assert_eq!(code, 0);
                Ok(Box::new(program))
            }
            Opened::Refused { message, damaged } => {
                assert_eq!(code == 7, damaged, "{code}");
                Err(SeatError::NotStarted { message, damaged })
            }
        }
    }

    fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        Launcher::qe_target(&*self.machine)
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError> {
        Launcher::quote(&*self.machine, report)
    }

    fn platform_id(&self) -> PlatformId {
        Launcher::platform_id(&*self.machine)
    }
}

/// A running program, and the CPU that it asks.
pub struct Program {
    child: Child,
    platform: SimPlatform,
    fuse: Rc<Cell<Option<u32>>>,
    most_heap: Rc<Cell<u64>>,
}

impl Program {
    /// Sends a frame, answers what the program asks meanwhile, and gives its result.
    pub fn ask(&mut self, what: u8, payload: &[u8]) -> Result<(i32, Vec<u8>), LinkError> {
        self.put(what, payload)?;
        loop {
            let (what, data) = self.get()?;
            match self.fuse.get() {
                Some(0) => {
                    self.fuse.set(None);
                    // SIGKILL.
                    self.child.kill().unwrap();
                    return Err(LinkError::Ended("killed".into()));
                }
                Some(n) => self.fuse.set(Some(n - 1)),
                None => {}
            }
            if what == b'A' {
                let (code, data) = data.split_first_chunk().unwrap();
                return Ok((i32::from_le_bytes(*code), data.to_vec()));
            }
            let (code, out) = self.cpu(what, &data);
            self.put(b'C', &[&code.to_le_bytes()[..], &out].concat())?;
        }
    }

    /// EGETKEY, EREPORT, RDRAND.
    fn cpu(&mut self, what: u8, data: &[u8]) -> (i32, Vec<u8>) {
        match what {
            b'k' => {
                let request = KeyRequest::parse(data.try_into().unwrap()).unwrap();
                let key = match request.key_name {
                    key_name::REPORT => self.platform.report_key(&request.key_id),
                    _ => self.platform.seal_key(&request),
                };
                match key {
                    Ok(key) => (0, key.danger_expose().to_vec()),
                    Err(PlatformError::InvalidAttribute) => (2, Vec::new()),
                    Err(PlatformError::InvalidCpuSvn) => (32, Vec::new()),
                    Err(PlatformError::InvalidIsvSvn) => (64, Vec::new()),
                    Err(PlatformError::InvalidKeyName) => (256, Vec::new()),
                    Err(PlatformError::BadRequest) => (-1, Vec::new()),
                }
            }
            b'e' => {
                let (target, data) = data.split_first_chunk::<512>().unwrap();
                let target = TargetInfo::parse(target).unwrap();
                (0, self.platform.report(&target, data.try_into().unwrap()).to_vec())
            }
            b'r' => {
                let mut out = vec![0; u32::from_le_bytes(data.try_into().unwrap()) as usize];
                self.platform.random(&mut out);
                (0, out)
            }
            other => panic!("the program asks {other}"),
        }
    }

    fn put(&mut self, what: u8, payload: &[u8]) -> Result<(), LinkError> {
        let mut frame = vec![what];
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        frame.extend_from_slice(payload);
        self.child.stdin.as_mut().unwrap().write_all(&frame).map_err(ended)
    }

    fn get(&mut self) -> Result<(u8, Vec<u8>), LinkError> {
        let out = self.child.stdout.as_mut().unwrap();
        let mut head = [0; 5];
        out.read_exact(&mut head).map_err(ended)?;
        let [what, len @ ..] = head;
        let mut data = vec![0; u32::from_le_bytes(len) as usize];
        out.read_exact(&mut data).map_err(ended)?;
        Ok((what, data))
    }
}

fn ended(e: std::io::Error) -> LinkError {
    LinkError::Ended(e.to_string())
}

impl EnclaveLink for Program {
    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, LinkError> {
        let (code, response) = self.ask(b'R', request)?;
        assert_eq!(code, 0);
        Ok(response)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be dead already; and a fuse is for what a test does.
        if self.fuse.get().is_none()
            && let Ok((0, heap)) = self.ask(b'X', &[])
        {
            let most = u64::from_le_bytes(heap[8..].try_into().unwrap());
            self.most_heap.set(self.most_heap.get().max(most));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
