//! Ed25519 as CometBFT accepts it (ZIP-215), one by one or in one batch.
//!
//! ZIP-215: s must be canonical, R and A may be any encoding that decompresses, and the equation is multiplied by
//! the cofactor. The batch checks a combination of the very same equations, so it accepts exactly the batches whose
//! members are each accepted; the cofactor is what makes that true. Its coefficients come from a hash over the
//! whole batch, because this crate has no randomness: whoever made the signatures cannot choose them knowing the
//! coefficients (soundness 2^-128 for each attempt at a batch).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};

/// One signature to check. UNTRUSTED.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Public key, 32 bytes.
    pub key: &'a [u8; 32],
    /// The signed bytes.
    pub message: &'a [u8],
    /// R and s, 64 bytes; any other length is a bad signature.
    pub signature: &'a [u8],
}

/// The scalars of one signature's equation `[8](s B - R - k A) = 0`.
struct Equation {
    r: CompressedEdwardsY,
    s: Scalar,
    k: Scalar,
}

impl Equation {
    fn new(signed: &Signed<'_>) -> Option<Self> {
        let (r, s) = signed.signature.split_first_chunk::<32>()?;
        let s = <[u8; 32]>::try_from(s).ok()?;
        let k = Sha512::new()
            .chain_update(r)
            .chain_update(signed.key)
            .chain_update(signed.message)
            .finalize();
        Some(Equation {
            r: CompressedEdwardsY(*r),
            s: Option::from(Scalar::from_canonical_bytes(s))?,
            k: Scalar::from_bytes_mod_order_wide(&k.into()),
        })
    }
}

/// True if this signature is valid.
pub fn verify(signed: &Signed<'_>) -> bool {
    verify_one(signed).is_some_and(|difference| difference.mul_by_cofactor().is_identity())
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "group operations do not overflow"
)]
fn verify_one(signed: &Signed<'_>) -> Option<EdwardsPoint> {
    let equation = Equation::new(signed)?;
    let key = CompressedEdwardsY(*signed.key).decompress()?;
    let r = equation.r.decompress()?;
    Some(EdwardsPoint::vartime_double_scalar_mul_basepoint(&equation.k, &-key, &equation.s) - r)
}

/// True if every signature is valid. An empty batch is.
pub fn verify_batch(batch: &[Signed<'_>]) -> bool {
    match batch {
        [] => true,
        [one] => verify(one),
        _ => combination(batch).is_some_and(|sum| sum.mul_by_cofactor().is_identity()),
    }
}

/// The sum over all equations, each times its coefficient. Signatures under one key share one point.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "arithmetic modulo the group order does not overflow"
)]
fn combination(batch: &[Signed<'_>]) -> Option<EdwardsPoint> {
    let equations = batch
        .iter()
        .map(Equation::new)
        .collect::<Option<Vec<_>>>()?;
    let coefficients = coefficients(batch, &equations);
    let mut base = Scalar::ZERO;
    let mut keys = BTreeMap::<&[u8; 32], Scalar>::new();
    let mut scalars = Vec::new();
    let mut points = Vec::new();
    for ((signed, equation), z) in batch.iter().zip(&equations).zip(coefficients) {
        base -= z * equation.s;
        *keys.entry(signed.key).or_insert(Scalar::ZERO) += z * equation.k;
        scalars.push(z);
        points.push(equation.r.decompress()?);
    }
    for (key, scalar) in keys {
        scalars.push(scalar);
        points.push(CompressedEdwardsY(*key).decompress()?);
    }
    scalars.push(base);
    points.push(ED25519_BASEPOINT_POINT);
    Some(sum(&scalars, &points))
}

/// From this many points on, the library's sum shares more work the more points it gets.
const LARGE: usize = 190;

/// Below that it works on a table of 1280 bytes for each point: this many tables stay in a core's cache.
const CHUNK: usize = 68;

#[expect(
    clippy::arithmetic_side_effects,
    reason = "group operations do not overflow"
)]
fn sum(scalars: &[Scalar], points: &[EdwardsPoint]) -> EdwardsPoint {
    if points.len() >= LARGE {
        return EdwardsPoint::vartime_multiscalar_mul(scalars, points);
    }
    let chunks = scalars.chunks(CHUNK).zip(points.chunks(CHUNK));
    chunks
        .map(|(s, p)| EdwardsPoint::vartime_multiscalar_mul(s, p))
        .sum()
}

/// 128-bit coefficients, four from each hash of a seed that binds every key, R, s and message.
fn coefficients(batch: &[Signed<'_>], equations: &[Equation]) -> Vec<Scalar> {
    let mut seed = Sha512::new_with_prefix(b"baton ed25519 batch v1");
    seed.update((batch.len() as u64).to_le_bytes());
    for (signed, equation) in batch.iter().zip(equations) {
        // k is the hash of R, key and message.
        seed.update(signed.key);
        seed.update(equation.r.as_bytes());
        seed.update(equation.s.as_bytes());
        seed.update(equation.k.as_bytes());
    }
    let seed = seed.finalize();
    let mut out = Vec::with_capacity(batch.len());
    for block in 0u64.. {
        let hash: [u8; 64] = Sha512::new()
            .chain_update(seed)
            .chain_update(block.to_le_bytes())
            .finalize()
            .into();
        for part in hash.as_chunks::<16>().0 {
            if out.len() == batch.len() {
                return out;
            }
            out.push(Scalar::from(u128::from_le_bytes(*part)));
        }
    }
    out
}
