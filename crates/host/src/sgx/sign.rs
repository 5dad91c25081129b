//! From a program and a policy to a signed build.

use baton_attest::sigstruct::{SigningKey, SigstructError};
use baton_core::policy::Policy;
use baton_enclave::sim::{Image, PRODUCT_ID};

use super::convert::{ConvertError, Layout, convert};
use super::image::{ImageError, Pages};

/// Why there is no signed build.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The ELF file.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The signature.
    #[error(transparent)]
    Sigstruct(#[from] SigstructError),
}

/// Reads a program: an ELF file of the SGX target, or an image that was converted before, with or without a policy.
pub fn program(bytes: &[u8], layout: &Layout) -> Result<Pages, SignError> {
    match bytes.starts_with(b"\x7fELF") {
        true => Ok(convert(bytes, layout)?),
        false => Ok(Pages::from_sgxs(bytes)?),
    }
}

/// Inserts a policy and signs. Same program and same policy: same measurement, whoever does it.
pub fn build(program: &Pages, policy: &Policy, key: &SigningKey, svn: u16) -> Result<Image, SignError> {
    let mut pages = program.clone();
    pages.set_policy(policy)?;
    sign(&pages, key, svn)
}

/// Signs pages as they are.
pub fn sign(pages: &Pages, key: &SigningKey, svn: u16) -> Result<Image, SignError> {
    // A build that would refuse to start is not worth a signature.
    pages.policy()?;
    let sigstruct = key.sign_build(pages.measurement()?, PRODUCT_ID, svn)?.to_bytes().to_vec();
    Ok(Image { sgxs: pages.to_sgxs()?, sigstruct })
}
