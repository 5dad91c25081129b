//! What the functions of `baton.h` return. The numbers are part of the ABI: append, never renumber.

use baton_core::platform::PlatformError;

/// The version of the C interface: what `baton_abi_version` returns and `BATON_ABI_VERSION` says.
pub const ABI_VERSION: u32 = 1;

/// Result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// A pointer is NULL that must not be, a length is larger than memory, or a text is no UTF-8.
    Argument = 1,
    /// No instance has this handle: it was stopped, or never was one.
    Handle = 2,
    /// The instance is inside another call: of another thread, or of a callback.
    Busy = 3,
    /// As many instances run as can.
    TooMany = 4,
    /// The policy is refused.
    Policy = 5,
    /// The report of this enclave over itself cannot be read.
    Platform = 6,
    /// The custody file is damaged: an older generation is worth trying.
    Damaged = 7,
    /// The custody file is refused for another reason, which an older file would only hide.
    Refused = 8,
    /// The app may not use the keyring, or no such key is held.
    NoKey = 9,
    /// The opening cannot be read.
    Opening = 10,
}

/// Reads what `baton_cb_get_key` returned: 0, or RAX of EGETKEY (Intel SDM vol. 3D, EGETKEY, "Operation
/// with error codes"). What no EGETKEY returns counts as a fault of the instruction.
pub fn key_result(rax: i32) -> Result<(), PlatformError> {
    match rax {
        0 => Ok(()),
        2 => Err(PlatformError::InvalidAttribute),
        32 => Err(PlatformError::InvalidCpuSvn),
        64 => Err(PlatformError::InvalidIsvSvn),
        256 => Err(PlatformError::InvalidKeyName),
        _ => Err(PlatformError::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_egetkey_returns_is_a_fault_and_never_a_key() {
        for odd in [-1, 1, 3, 31, 33, 65, 255, 257, i32::MIN, i32::MAX] {
            assert_eq!(key_result(odd), Err(PlatformError::BadRequest), "{odd}");
        }
        assert_eq!(key_result(0), Ok(()));
    }
}
