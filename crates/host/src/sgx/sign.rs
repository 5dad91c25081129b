//! From a program and a policy to a signed build.

use baton_attest::policy::TcbPolicy;
use baton_attest::sigstruct::{SigningKey, SigstructError};
use baton_core::policy::Policy;
use baton_enclave::sim::{Image, PRODUCT_ID};
use baton_enclave::slot;
use softsgx::elf::ConvertError;
pub use softsgx::elf::{Layout, MAX_ELF_BYTES};

use super::image::{ImageError, Pages};

/// Why there is no signed build.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The ELF file.
    #[error("{0}; build it with scripts/sgx-build")]
    Convert(ConvertError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The signature.
    #[error(transparent)]
    Sigstruct(#[from] SigstructError),
}

impl From<ConvertError> for SignError {
    fn from(e: ConvertError) -> Self {
        SignError::Convert(e)
    }
}

/// Converts an ELF file of the SGX target. The policy slot is still empty then.
pub fn convert(elf: &[u8], layout: &Layout) -> Result<Pages, SignError> {
    Ok(softsgx::elf::convert(elf, layout)?.into())
}

/// Reads a program: an ELF file of the SGX target, or an image that was converted before, with or without a policy.
pub fn program(bytes: &[u8], layout: &Layout) -> Result<Pages, SignError> {
    match bytes.starts_with(b"\x7fELF") {
        true => convert(bytes, layout),
        false => Ok(Pages::from_sgxs(bytes)?),
    }
}

/// Inserts a policy and signs. Same program and same policy: same measurement, whoever does it.
pub fn build(program: &Pages, policy: &Policy, key: &SigningKey, svn: u16) -> Result<Image, SignError> {
    let mut pages = program.clone();
    pages.set_policy(policy)?;
    sign(&pages, key, svn)
}

/// One of the two programs beside the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// The lifeboat's.
    Lifeboat,
    /// The ceremony's.
    Ceremony,
}

/// Which program it is, as its version says; none for the keeper.
pub fn beside(program: &Pages) -> Result<Option<Beside>, ImageError> {
    let version = program.slot()?.version;
    let known = [(slot::LIFEBOAT, Beside::Lifeboat), (slot::CEREMONY, Beside::Ceremony)];
    Ok(known.into_iter().find(|(name, _)| version.starts_with(name)).map(|(_, which)| which))
}

/// Inserts by which rules a lifeboat judges its peers' quotes, and signs.
pub fn lifeboat(program: &Pages, tcb: &TcbPolicy, key: &SigningKey, svn: u16) -> Result<Image, SignError> {
    let mut pages = program.clone();
    pages.set_contents(&crate::lifeboat::config(tcb))?;
    signed(&pages, key, (baton_enclave::lifeboat::PRODUCT_ID, svn))
}

/// Signs a ceremony's program: its slot holds its name, and nothing can be chosen.
pub fn ceremony(program: &Pages, key: &SigningKey, svn: u16) -> Result<Image, SignError> {
    let mut pages = program.clone();
    pages.set_contents(crate::ceremony::CONTENTS)?;
    signed(&pages, key, (baton_enclave::ceremony::PRODUCT_ID, svn))
}

/// Signs pages as they are.
pub fn sign(pages: &Pages, key: &SigningKey, svn: u16) -> Result<Image, SignError> {
    // A build that would refuse to start is not worth a signature.
    pages.policy()?;
    signed(pages, key, (PRODUCT_ID, svn))
}

fn signed(pages: &Pages, key: &SigningKey, (product_id, svn): (u16, u16)) -> Result<Image, SignError> {
    let sigstruct = key.sign_build(pages.measurement()?, product_id, svn)?.to_bytes().to_vec();
    Ok(Image { sgxs: pages.to_sgxs()?, sigstruct })
}
