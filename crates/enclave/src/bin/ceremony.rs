//! `baton-ceremony`: the ceremony's program as an SGX enclave of its own. Its measured pages hold its name and nothing else.

#[cfg(target_env = "sgx")]
#[used]
static PAGES: baton_enclave::sgx::Pages = baton_enclave::sgx::Pages::compiled(baton_enclave::slot::CEREMONY);

#[cfg(target_env = "sgx")]
fn main() -> std::io::Result<()> {
    use baton_enclave::{link, sgx};
    sgx::serve(&PAGES, |platform, _, opening| link::start_ceremony(platform, opening))
}

#[cfg(not(target_env = "sgx"))]
fn main() -> std::process::ExitCode {
    baton_enclave::serve::not_here()
}
