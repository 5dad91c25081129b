//! Where no enclave can run: one clear error, from [`Builder::build`](crate::Builder::build).

use std::convert::Infallible;
use std::os::raw::c_void;
use std::sync::Arc;

use sgxs::loader;

use crate::device::{Error, Machine};
use crate::image::Image;
use crate::structs::Identity;

/// A loaded enclave; there is none here.
#[derive(Debug)]
pub struct Info(Infallible);

/// A thread of an enclave; there is none here.
#[derive(Debug)]
pub struct Tcs(Infallible);

/// Registers at a crossing of the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers;

/// How a thread came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {}

impl loader::MappingInfo for Info {
    fn address(&self) -> *mut c_void {
        match self.0 {}
    }
    fn size(&self) -> usize {
        match self.0 {}
    }
}

impl loader::Tcs for Tcs {
    fn address(&self) -> *mut c_void {
        match self.0 {}
    }
}

impl Info {
    /// Who the enclave is.
    pub fn identity(&self) -> Identity {
        match self.0 {}
    }
}

fn wrong_host() -> Error {
    Error::Host {
        arch: std::env::consts::ARCH,
        os: std::env::consts::OS,
    }
}

/// Nothing to do here.
pub fn protect_signal_handlers() {}

/// Nothing to enter here.
///
/// # Safety
/// Cannot be called: there is no [`Tcs`].
pub unsafe fn enter(tcs: &Tcs, _: &Registers) -> Exit {
    match tcs.0 {}
}

pub(crate) fn check_host(_: bool) -> Result<(), Error> {
    Err(wrong_host())
}

pub(crate) fn load(_: &Arc<Machine>, _: Image, _: Identity) -> Result<(Info, Vec<Tcs>), Error> {
    Err(wrong_host())
}
