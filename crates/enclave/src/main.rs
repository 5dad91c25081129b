//! `baton-enclave`: the trusted program as an SGX enclave of its own.
//!
//! It speaks frames ([`baton_enclave::link`]) on its standard input and output, which the host's runner
//! connects to itself; it opens no other stream. The policy is in its measured pages.

#[cfg(target_env = "sgx")]
mod sgx;

#[cfg(target_env = "sgx")]
fn main() -> std::io::Result<()> {
    sgx::run()
}

#[cfg(not(target_env = "sgx"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "error:    this program runs inside SGX\nexpected: target x86_64-fortanix-unknown-sgx\nnext:     build it with scripts/sgx-build, or run `baton demo`, which needs no SGX"
    );
    std::process::ExitCode::from(2)
}
