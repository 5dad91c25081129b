//! `softsgx run FILE`: an enclave of the Fortanix EDP target on a software SGX CPU, from an `.sgxs` file and its
//! signature, or from the ELF file that cargo built.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use enclave_runner_sgx::EnclaveBuilder;
use softsgx::elf::{self, Layout, MAX_ELF_BYTES};
use softsgx::{Device, Mode, Platform, development};

/// A software SGX CPU: runs .sgxs enclaves for development and tests. It protects nothing.
#[derive(Parser)]
#[command(name = "softsgx", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an enclave: an .sgxs file with its signature beside it as .sig, or the ELF file that cargo built.
    #[command(
        after_help = "Examples:\n  softsgx run hello.sgxs\n  softsgx run --mode trap --counters hello.sgxs -- argument\n\n\
        As cargo's runner (.cargo/config.toml):\n  [target.x86_64-fortanix-unknown-sgx]\n  runner = [\"softsgx\", \"run\"]"
    )]
    Run(Run),
}

#[derive(Parser)]
struct Run {
    /// The enclave: an SGXS stream, or an ELF file, which is converted and signed with a key that everybody has.
    file: PathBuf,
    /// Arguments of the enclave's program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
    /// File with the machine's keys; made if it is not there. Without it the machine is the same in every run.
    #[arg(long, value_name = "FILE")]
    platform: Option<PathBuf>,
    /// How threads enter and leave.
    #[arg(long, value_enum, default_value_t = ModeName::Direct)]
    mode: ModeName,
    /// Make a SYSCALL inside the enclave a fault, as on hardware.
    #[arg(long)]
    strict: bool,
    /// Print the counters at the end.
    #[arg(long)]
    counters: bool,
    /// For an ELF file: heap in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    heap: u64,
    /// For an ELF file: stack of each thread in KiB.
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    stack: u64,
    /// For an ELF file: threads that may be inside at once. Tests run on as many as cargo was told, and one more.
    #[arg(long, value_name = "N", default_value_t = 16)]
    threads: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Trap,
    Direct,
    Patched,
}

fn main() -> ExitCode {
    let Command::Run(run) = Cli::parse().command;
    match run_enclave(&run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("softsgx: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_enclave(run: &Run) -> anyhow::Result<()> {
    let mut made = Vec::new();
    let inner = open(run, &mut made)?;
    let platform = match &run.platform {
        Some(path) => Platform::open_or_create(path)?,
        None => Platform::from_seed([0; 32]),
    };
    let mode = match run.mode {
        ModeName::Trap => Mode::Trap,
        ModeName::Direct => Mode::Direct,
        ModeName::Patched => Mode::Patched,
    };
    let device = Device::builder()
        .platform(platform)
        .mode(mode)
        .strict(run.strict)
        .build()?;
    let mut builder = enclave_runner::EnclaveBuilder::new(inner);
    builder.args(&run.args);
    let result = builder
        .build(device.clone())
        .and_then(|enclave| enclave.run());
    if run.counters {
        eprintln!("{:#?}", device.counters());
    }
    result
}

/// The enclave and its signature, as the runner takes them; `made` keeps a stream that lies in no file.
fn open<'m>(run: &'m Run, made: &'m mut Vec<u8>) -> anyhow::Result<EnclaveBuilder<'m, Device>> {
    let place = run.file.display();
    let bytes = std::fs::read(&run.file).with_context(|| place.to_string())?;
    if bytes.starts_with(b"\x7fELF") {
        *made = convert(run, &bytes).with_context(|| place.to_string())?;
        let mut inner = EnclaveBuilder::new_from_memory(made);
        inner.sigstruct(development::sign(made).map_err(anyhow::Error::msg)?);
        return Ok(inner);
    }
    if !bytes.starts_with(b"ECREATE\0") {
        bail!(
            "{place} does not start with ECREATE: it is not an SGXS stream with a size, and no ELF file either"
        );
    }
    let mut inner = EnclaveBuilder::new(&run.file);
    inner.coresident_signature().with_context(|| {
        format!(
            "no signature for {place}: expected a SIGSTRUCT in {}; sign it, or get the file that came with it",
            run.file.with_extension("sig").display()
        )
    })?;
    Ok(inner)
}

/// The stream of an ELF file's program.
fn convert(run: &Run, elf: &[u8]) -> anyhow::Result<Vec<u8>> {
    if elf.len() > MAX_ELF_BYTES {
        bail!(
            "it has {} bytes, expected at most {MAX_ELF_BYTES}: leave its debug information out",
            elf.len()
        );
    }
    let layout = Layout {
        heap_bytes: run.heap.saturating_mul(1 << 20),
        stack_bytes: run.stack.saturating_mul(1 << 10),
        threads: run.threads,
        // A panic's text reaches the terminal.
        debug: true,
    };
    Ok(elf::convert(elf, &layout)?.to_sgxs()?)
}
