//! Enclaves in processes of their own, for development platforms: so that the death of an enclave is an event apart
//! from the death of the program that owns it, as it is on hardware.
//!
//! [`Apart`] runs a command for each enclave and speaks frames with it over the command's standard input, which is a
//! socket; the command calls [`serve`] with the launcher that really runs the enclave. Quotes and the software CPU stay on
//! this side. The process ends when its socket does: also when its owner was killed.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_attest::identity::{PlatformId, encode};
use baton_enclave::link::Opening;
use baton_enclave::sim::{Image, Launch};

use super::image::MAX_SGXS_BYTES;
use crate::link::{EnclaveLink, Launcher, LinkError, ProgramKind, SoftwareCpu};
use crate::seat::SeatError;

/// Largest frame that either side takes, in bytes: an image is the largest thing that is sent.
const MAX_FRAME_BYTES: usize = MAX_SGXS_BYTES;
/// How long a process may take to end once its socket is closed.
const REAP: Duration = Duration::from_secs(2);

/// First byte of the answer to a launch.
mod answer {
    /// It runs.
    pub const STARTED: u8 = 0;
    /// The enclave itself refused; its words follow.
    pub const REFUSED: u8 = 1;
    /// The same, and the custody file is damaged.
    pub const DAMAGED: u8 = 2;
    /// It did not load; why not follows.
    pub const NO_LOAD: u8 = 3;
}

fn send(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(bytes)
}

fn receive(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_FRAME_BYTES {
        return Err(io::Error::other(format!("a frame of {len} bytes, expected at most {MAX_FRAME_BYTES}")));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The process of one enclave; clones are the same one.
#[derive(Clone)]
pub struct Process(Arc<Mutex<Child>>);

impl Process {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// How it ended; one that does not end is killed.
    fn ended(&self) -> String {
        let (id, end) = (self.id(), Instant::now() + REAP);
        while Instant::now() < end {
            let tried = self.child().try_wait();
            match tried {
                Ok(Some(status)) => return format!("its process {id} ended, {status}"),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(e) => return e.to_string(),
            }
        }
        self.kill();
        format!("its process {id} closed the link and did not end")
    }
}

/// A machine whose enclaves run in processes of their own.
pub struct Apart {
    within: Rc<dyn Launcher>,
    command: Box<dyn Fn() -> Command>,
    newest: RefCell<Option<Process>>,
}

impl Apart {
    /// `within` quotes; `command` starts a process that calls [`serve`] with a launcher of the same machine.
    pub fn new(within: Rc<dyn Launcher>, command: impl Fn() -> Command + 'static) -> Self {
        Apart { within, command: Box::new(command), newest: RefCell::new(None) }
    }

    /// The process of the enclave that was launched last.
    pub fn newest(&self) -> Option<Process> {
        self.newest.borrow().clone()
    }

    fn run(&self, kind: Option<ProgramKind>, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        let started = UnixStream::pair().and_then(|(ours, theirs)| {
            let mut command = (self.command)();
            // What the enclave's own runner prints belongs into the owner's log.
            let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn()?;
            Ok((ours, child))
        });
        let (stream, child) = started.map_err(|e| LinkError::Load(format!("no process for it: {e}")))?;
        let process = Process(Arc::new(Mutex::new(child)));
        *self.newest.borrow_mut() = Some(process.clone());
        let mut link = Link { stream, process };
        let which = match kind {
            None => 0,
            Some(ProgramKind::Ceremony) => 1,
            Some(ProgramKind::Lifeboat) => 2,
        };
        let head = [&[which, u8::from(how.debug)][..], &how.entropy].concat();
        for bytes in [&head, &image.sgxs, &image.sigstruct] {
            link.send(bytes)?;
        }
        let said = link.call(&encode(opening))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match said.split_first() {
            Some((&answer::STARTED, _)) => Ok(Box::new(link)),
            Some((&answer::REFUSED, why)) => Err(SeatError::NotStarted { message: text(why), damaged: false }),
            Some((&answer::DAMAGED, why)) => Err(SeatError::NotStarted { message: text(why), damaged: true }),
            Some((&answer::NO_LOAD, why)) => Err(LinkError::Load(text(why)).into()),
            _ => Err(SeatError::Unexpected { expected: "the answer to a launch", got: format!("{} bytes", said.len()) }),
        }
    }
}

impl Launcher for Apart {
    fn launch(&self, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        self.run(None, image, how, opening)
    }

    fn launch_program(&self, kind: ProgramKind, image: &Image, how: &Launch, opening: &Opening) -> Result<Box<dyn EnclaveLink>, SeatError> {
        self.run(Some(kind), image, how, opening)
    }

    fn qe_target(&self) -> Result<Vec<u8>, SeatError> {
        self.within.qe_target()
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, SeatError> {
        self.within.quote(report)
    }

    fn platform_id(&self) -> PlatformId {
        self.within.platform_id()
    }

    fn software_cpu(&self) -> Option<&dyn SoftwareCpu> {
        self.within.software_cpu()
    }
}

struct Link {
    stream: UnixStream,
    process: Process,
}

impl Link {
    fn send(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        send(&mut self.stream, bytes).map_err(|_| LinkError::Ended(self.process.ended()))
    }
}

impl EnclaveLink for Link {
    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.send(request)?;
        receive(&mut self.stream).map_err(|_| LinkError::Ended(self.process.ended()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// What the process does: it launches what comes over its standard input and answers until that ends.
pub fn serve(launcher: &dyn Launcher) -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let head = receive(&mut stream)?;
    let image = Image { sgxs: receive(&mut stream)?, sigstruct: receive(&mut stream)? };
    let opening: Opening = minicbor::decode(&receive(&mut stream)?).map_err(io::Error::other)?;
    let Some(([which, debug], entropy)) = head.split_first_chunk::<2>() else { return Err(io::Error::other("no way to launch")) };
    let how = Launch { debug: *debug != 0, entropy: entropy.try_into().map_err(io::Error::other)? };
    let launched = match which {
        1 => launcher.launch_program(ProgramKind::Ceremony, &image, &how, &opening),
        2 => launcher.launch_program(ProgramKind::Lifeboat, &image, &how, &opening),
        _ => launcher.launch(&image, &how, &opening),
    };
    let (said, link) = match launched {
        Ok(link) => (vec![answer::STARTED], Some(link)),
        Err(e) => (refusal(&e), None),
    };
    send(&mut stream, &said)?;
    let Some(mut link) = link else { return Ok(()) };
    while let Ok(request) = receive(&mut stream) {
        // An enclave that ended takes its process with it: the other side sees the same.
        let response = link.call(&request).map_err(io::Error::other)?;
        send(&mut stream, &response)?;
    }
    Ok(())
}

fn refusal(e: &SeatError) -> Vec<u8> {
    let (tag, text) = match e {
        SeatError::NotStarted { message, damaged: true } => (answer::DAMAGED, message.clone()),
        SeatError::NotStarted { message, damaged: false } => (answer::REFUSED, message.clone()),
        SeatError::Start(e) if e.is_damage() => (answer::DAMAGED, e.to_string()),
        SeatError::Start(e) => (answer::REFUSED, e.to_string()),
        SeatError::Link(LinkError::Load(why)) => (answer::NO_LOAD, why.clone()),
        other => (answer::NO_LOAD, other.to_string()),
    };
    [&[tag], text.as_bytes()].concat()
}
