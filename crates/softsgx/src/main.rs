//! `softsgx run FILE.sgxs`: an enclave of the Fortanix EDP target on a software SGX CPU.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use softsgx::{Device, Mode, Platform};

/// A software SGX CPU: runs .sgxs enclaves for development and tests. It protects nothing.
#[derive(Parser)]
#[command(name = "softsgx", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an enclave; its signature must lie beside it as FILE.sig.
    #[command(
        after_help = "Examples:\n  softsgx run hello.sgxs\n  softsgx run --mode trap --counters hello.sgxs -- argument\n\n\
        As cargo's runner (.cargo/config.toml):\n  [target.x86_64-fortanix-unknown-sgx]\n  runner = [\"softsgx\", \"run\"]"
    )]
    Run(Run),
}

#[derive(Parser)]
struct Run {
    /// The enclave, an SGXS stream.
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
    check_file(&run.file)?;
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
    let mut inner = enclave_runner_sgx::EnclaveBuilder::new(&run.file);
    inner.coresident_signature().with_context(|| {
        format!(
            "no signature for {}: expected a SIGSTRUCT in {}; sign it, or get the file that came with it",
            run.file.display(),
            run.file.with_extension("sig").display()
        )
    })?;
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

/// Says what a file is that is no SGXS stream, before the reader stumbles over its first bytes.
fn check_file(path: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    if bytes.starts_with(b"\x7fELF") {
        bail!(
            "{} is an ELF file, expected an SGXS stream: convert it (ftxsgx-elf2sgxs, or your project's own tool), sign the result, \
             and run that; as cargo's runner use a script that does all three",
            path.display()
        );
    }
    if !bytes.starts_with(b"ECREATE\0") {
        bail!(
            "{} does not start with ECREATE: it is not an SGXS stream with a size",
            path.display()
        );
    }
    Ok(())
}
