//! The builds of a world: policies, images and their names.

use std::fs;

use anyhow::{Context, Result};
use baton_attest::identity::Measurement;
use baton_attest::quote::intel_root;
use baton_attest::policy::{BuildRules, TcbPolicy, TcbStatus};
use baton_attest::sigstruct::SigningKey;
use baton_chain::policy::{ChainPolicy, Checkpoint};
use baton_core::keyring::Commitment;
use baton_core::policy::{Admission, BarrierRules, EpochCommitment, FORMAT, Origin, Phase, Policy};
use baton_enclave::sim::{Image, PRODUCT_ID};
use baton_host::files::write_whole;
use baton_host::sgx::image::Pages;
use baton_host::sgx::sign;

use super::{Platform, World};

/// The builds that a world knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// The genesis build.
    V1,
    /// The build that people vote for.
    V2,
    /// A third one, for what must not happen.
    V3,
}

impl Named {
    /// Its name in folders and output.
    pub fn name(self) -> &'static str {
        match self {
            Named::V1 => "v1",
            Named::V2 => "v2",
            Named::V3 => "v3",
        }
    }
}

/// A build: its image and the policy inside.
#[derive(Clone, Debug)]
pub struct Build {
    /// The image.
    pub image: Image,
    /// The policy in its measured pages.
    pub policy: Policy,
    /// MRENCLAVE.
    pub measurement: Measurement,
}

impl Build {
    /// Builds and signs with a development key.
    pub fn new(version: &str, policy: Policy, key: u8, svn: u16) -> Result<Self> {
        let image = Image::build("baton-sim", version, &policy, &SigningKey::development(key)?, svn)?;
        Ok(Build { measurement: image.measurement()?, image, policy })
    }

    /// Puts the policy into a real program, and signs with a development key.
    pub fn of_program(program: &Pages, policy: Policy, key: u8, svn: u16) -> Result<Self> {
        let image = sign::build(program, &policy, &SigningKey::development(key)?, svn)?;
        Ok(Build { measurement: image.measurement()?, image, policy })
    }
}

impl World {
    /// The policy of this world's builds, for an origin.
    pub fn policy(&self, origin: Origin, checkpoint: u64) -> Result<Policy> {
        let dec = |s: &str| s.parse().with_context(|| format!("{s} is no decimal"));
        Ok(Policy {
            format: FORMAT,
            platform_tag: baton_attest::identity::PLATFORM_SGX,
            origin,
            phase: Phase::Mrenclave,
            admission: Admission::Any,
            readiness_wanted: 0,
            rotation_blocks: None,
            chain: ChainPolicy {
                chain_id: self.chain.config().chain_id.clone(),
                checkpoint: Checkpoint { height: checkpoint, hash: self.chain.header_hash(checkpoint)? },
                trusting_period_secs: 14 * 24 * 3600,
                trust_threshold: (1, 3),
                quorum: dec("0.334")?,
                threshold: dec("0.5")?,
                veto: dec("0.334")?,
                expedited_threshold: dec("0.667")?,
                slack: dec("0.005")?,
                override_share: dec("0.667")?,
                power_reduction: self.chain.config().power_reduction,
                lead_blocks: LEAD_BLOCKS,
            },
            builds: BuildRules {
                signers: vec![SigningKey::development(1)?.signer(), SigningKey::development(2)?.signer()],
                product_id: PRODUCT_ID,
                min_svn: 1,
            },
            tcb: TcbPolicy {
                statuses: vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded],
                denied_advisories: Vec::new(),
                allowed_advisories: None,
                min_tcb_evaluation: 17,
                max_collateral_age_secs: 7 * 24 * 3600,
                roots: vec![match self.platform() {
                    Platform::Sgx(_) => intel_root().to_vec(),
                    Platform::Sim | Platform::SoftSgx(_) => self.pki.root_der()?,
                }],
            },
            barrier: BarrierRules { grace_blocks: GRACE_BLOCKS, platforms: if self.alone() { 1 } else { PLATFORMS }, power_share: None },
            council: None,
            witnesses: None,
            lifeboat: None,
        })
    }

    /// A build by name, made on first use and kept in the folder from then on. V2 and V3 need the
    /// commitment of epoch 0, so they come after genesis.
    pub fn build(&self, which: Named) -> Result<Build> {
        let dir = self.dir().join("builds");
        let (sgxs, sig) = (dir.join(format!("{}.sgxs", which.name())), dir.join(format!("{}.sig", which.name())));
        if let (Ok(sgxs), Ok(sigstruct)) = (fs::read(&sgxs), fs::read(&sig)) {
            let image = Image { sgxs, sigstruct };
            let policy = match self.platform() {
                Platform::Sim => image.contents()?.2,
                Platform::SoftSgx(_) | Platform::Sgx(_) => Pages::from_sgxs(&image.sgxs)?.policy()?,
            };
            return Ok(Build { measurement: image.measurement()?, image, policy });
        }
        let build = self.make_build(which)?;
        fs::create_dir_all(&dir)?;
        write_whole(&sgxs, &build.image.sgxs)?;
        write_whole(&sig, &build.image.sigstruct)?;
        fs::write(dir.join(format!("{}.policy.toml", which.name())), toml::to_string(&build.policy)?)?;
        Ok(build)
    }

    fn make_build(&self, which: Named) -> Result<Build> {
        let (origin, checkpoint, svn) = match which {
            Named::V1 => (Origin::Genesis, 2, 1),
            Named::V2 => (self.committed()?, 5, 2),
            Named::V3 => (self.committed()?, 5, 3),
        };
        let mut policy = self.policy(origin, checkpoint)?;
        if !self.alone() {
            policy.admission = Admission::Vouched;
            policy.barrier.power_share = Some(POWER_SHARE.parse().context("the share is a decimal")?);
        }
        self.platform().build(which, policy, svn)
    }

    /// The commitment of epoch 0, as node 0 published it.
    pub fn committed(&self) -> Result<Origin> {
        let path = self.dir().join("epoch0.commitment");
        let text = fs::read_to_string(&path).with_context(|| "no commitment of epoch 0 yet: genesis comes first")?;
        let commitment = Commitment(text.trim().parse()?);
        Ok(Origin::Commitments(vec![EpochCommitment { epoch: 0, commitment }]))
    }
}

/// Machines that must hold the keyring before a copy is erased; a world of one machine has one.
pub const PLATFORMS: u32 = 3;
/// Share of voting power that must hold the keyring before a copy is erased.
const POWER_SHARE: &str = "0.667";
/// Blocks before the plan's height in which offers may be made.
pub const LEAD_BLOCKS: u64 = 20;
/// Blocks after X before a receipt counts at the barrier.
pub const GRACE_BLOCKS: u64 = 5;
