//! `baton-ceremony`: the ceremony's program as an SGX enclave of its own. Its measured pages hold its name and nothing else.

#[cfg(target_env = "sgx")]
fn main() -> std::io::Result<()> {
    use baton_enclave::{link, sgx};
    sgx::serve(|platform, _, opening| link::start_ceremony(platform, opening))
}

#[cfg(not(target_env = "sgx"))]
fn main() -> std::process::ExitCode {
    baton_enclave::serve::not_here()
}
