//! `baton-lifeboat`: the lifeboat's program as an SGX enclave of its own. Its measured pages hold [`baton_enclave::lifeboat::Config`].

#[cfg(target_env = "sgx")]
#[used]
static PAGES: baton_enclave::sgx::Pages = baton_enclave::sgx::Pages::compiled(baton_enclave::slot::LIFEBOAT);

#[cfg(target_env = "sgx")]
fn main() -> std::io::Result<()> {
    use baton_enclave::{link, sgx};
    sgx::serve(&PAGES, |platform, pages, opening| link::start_lifeboat(platform, &pages.policy, opening))
}

#[cfg(not(target_env = "sgx"))]
fn main() -> std::process::ExitCode {
    baton_enclave::serve::not_here()
}
