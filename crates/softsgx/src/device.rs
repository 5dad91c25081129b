//! [`Device`]: the loader that an enclave runner takes.

use std::sync::Arc;

use sgx_isa::{Miscselect, Sigstruct};
use sgxs::loader::{Load, Mapping};
use sgxs::sgxs::SgxsRead;

use crate::Action;
use crate::cpu;
use crate::hook::{Counters, Counting, Event, Hook, count};
use crate::image::{Image, StreamError};
use crate::platform::Platform;
use crate::sigstruct::{InitError, Launch, init};
use crate::structs::Attributes;

/// How a thread crosses the enclave's border.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Every ENCLU is executed and traps, the host's too: closest to hardware, slowest.
    Trap,
    /// EENTER is a call, EEXIT traps.
    #[default]
    Direct,
    /// EENTER is a call, and the enclave's one EEXIT is overwritten by a jump after measuring. An enclave
    /// with no or several EEXITs of the usual form keeps its traps; so does every enclave while a hook is set.
    Patched,
}

/// Why there is no device, or why it does not load an enclave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another operating system or processor.
    #[error(
        "softsgx runs x86-64 machine code under Linux; this is {arch} {os}: use an x86-64 Linux machine or a virtual one"
    )]
    Host {
        /// The processor.
        arch: &'static str,
        /// The system.
        os: &'static str,
    },
    /// The kernel does not let programs set the GS base.
    #[error(
        "this kernel or CPU does not offer FSGSBASE (AT_HWCAP2 bit 1 is not set): softsgx needs Linux 5.9 or later on a CPU of \
         2012 or later, started without \"nofsgsbase\""
    )]
    NoFsGsBase,
    /// Strict mode needs a newer kernel.
    #[error(
        "strict mode needs a kernel with inclusive syscall user dispatch (PR_SYS_DISPATCH_INCLUSIVE_ON): {error}; \
         run without strict mode: a SYSCALL inside the enclave then reaches the kernel, which hardware would refuse"
    )]
    NoStrict {
        /// What prctl said.
        error: std::io::Error,
    },
    /// No platform was given.
    #[error(
        "no platform was given: Device::builder().platform(Platform::from_seed(..)) says which machine this is"
    )]
    NoPlatform,
    /// The stream builds no enclave.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// EINIT refused.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The host's CPU lacks XSAVE components that the enclave needs.
    #[error(
        "XFRM is {xfrm:#x}, but this CPU and kernel have {xcr0:#x}: the enclave needs a newer machine"
    )]
    Xfrm {
        /// What the enclave asks for.
        xfrm: u64,
        /// What is there.
        xcr0: u64,
    },
    /// A state save area frame does not hold the registers of its XFRM.
    #[error("SSAFRAMESIZE is {pages} pages, but XFRM {xfrm:#x} needs {needed} bytes in a frame")]
    SsaFrame {
        /// Pages in a frame.
        pages: u32,
        /// XFRM.
        xfrm: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The system refused memory or signal handlers.
    #[error("{what} failed: {error}")]
    System {
        /// Which call.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

/// What all enclaves of a device share.
pub(crate) struct Machine {
    pub platform: Platform,
    pub mode: Mode,
    pub strict: bool,
    pub hook: Option<Box<Hook>>,
    pub counters: Counting,
}

impl Machine {
    /// Asks the hook.
    pub fn ask(&self, event: &Event<'_>) -> Action {
        self.hook
            .as_ref()
            .map_or(Action::Proceed, |hook| hook(event))
    }
}

/// A software SGX CPU: give it to an enclave runner where that takes a loader.
#[derive(Clone)]
pub struct Device {
    machine: Arc<Machine>,
    config: ([u8; 64], u16),
}

/// Settings of a [`Device`].
#[derive(Default)]
pub struct Builder {
    platform: Option<Platform>,
    mode: Mode,
    strict: bool,
    config: Option<([u8; 64], u16)>,
    hook: Option<Box<Hook>>,
}

impl Builder {
    /// The machine. Needed.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// How threads enter and leave; [`Mode::Direct`] unless said otherwise.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Makes a SYSCALL inside the enclave a fault, as on hardware. Needs a new kernel.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// CONFIGID and CONFIGSVN of the enclaves that are loaded; they need the attribute KSS.
    pub fn config(mut self, id: [u8; 64], svn: u16) -> Self {
        self.config = Some((id, svn));
        self
    }

    /// Calls `hook` before each event; see [`Hook`](crate::Hook).
    pub fn hook(mut self, hook: impl Fn(&Event<'_>) -> Action + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Checks that this machine can do it, and makes the device. The first one in a process installs
    /// signal handlers; faults outside of enclaves still reach the handlers that were there before.
    pub fn build(self) -> Result<Device, Error> {
        let platform = self.platform.ok_or(Error::NoPlatform)?;
        cpu::check_host(self.strict)?;
        Ok(Device {
            machine: Arc::new(Machine {
                platform,
                mode: self.mode,
                strict: self.strict,
                hook: self.hook,
                counters: Counting::default(),
            }),
            config: self.config.unwrap_or(([0; 64], 0)),
        })
    }
}

impl Device {
    /// Settings for a new device.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.machine.counters.read()
    }

    /// The machine.
    pub fn platform(&self) -> &Platform {
        &self.machine.platform
    }

    /// Loads an enclave: [`Load::load`] with an error type of its own.
    pub fn launch<R: SgxsRead>(
        &self,
        stream: &mut R,
        sigstruct: &Sigstruct,
        attributes: Attributes,
        misc_select: u32,
    ) -> Result<Mapping<Self>, Error> {
        let image = Image::read(stream)?;
        let (config_id, config_svn) = self.config;
        let launch = Launch {
            attributes,
            misc_select,
            config_id,
            config_svn,
        };
        let identity = init(sigstruct, image.mr_enclave, &launch)?;
        let (info, tcss) = cpu::load(&self.machine, image, identity)?;
        count(&self.machine.counters.loads);
        Ok(Mapping { info, tcss })
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("platform", &self.machine.platform)
            .field("mode", &self.machine.mode)
            .field("strict", &self.machine.strict)
            .finish_non_exhaustive()
    }
}

impl Load for Device {
    type MappingInfo = cpu::Info;
    type Tcs = cpu::Tcs;

    fn load<R: SgxsRead>(
        &mut self,
        reader: &mut R,
        sigstruct: &Sigstruct,
        attributes: sgx_isa::Attributes,
        miscselect: Miscselect,
    ) -> Result<Mapping<Self>, anyhow::Error> {
        let attributes = Attributes {
            flags: attributes.flags.bits(),
            xfrm: attributes.xfrm,
        };
        Ok(self.launch(reader, sigstruct, attributes, miscselect.bits())?)
    }
}
