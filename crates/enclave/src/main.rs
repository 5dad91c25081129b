//! `baton-enclave`: the trusted program as an SGX enclave of its own.
//!
//! It speaks frames ([`baton_enclave::link`]) on its standard input and output, which the host's runner
//! connects to itself; it opens no other stream. The policy is in its measured pages.

#[cfg(target_env = "sgx")]
#[used]
static PAGES: baton_enclave::sgx::Pages = baton_enclave::sgx::Pages::compiled("");

#[cfg(target_env = "sgx")]
fn main() -> std::io::Result<()> {
    use baton_enclave::{link, sgx};
    sgx::serve(&PAGES, |platform, pages, opening| link::start_keeper(platform, sgx::policy(pages), opening))
}

#[cfg(not(target_env = "sgx"))]
fn main() -> std::process::ExitCode {
    baton_enclave::serve::not_here()
}
