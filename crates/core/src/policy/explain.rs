//! What a policy means, in sentences for people who must decide on it.

use alloc::{format, string::String, vec::Vec};

use super::{Admission, Origin, Phase, Policy};

/// How serious a sentence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the policy does.
    Means,
    /// What it leaves open.
    Warns,
    /// What can never happen under it.
    Impossible,
}

/// One sentence about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// How serious it is.
    pub level: Level,
    /// The sentence.
    pub text: String,
}

/// What the policy means, what it leaves open and what it makes impossible.
pub fn explain(policy: &Policy) -> Vec<Sentence> {
    let mut out = Sentences(Vec::new());
    chain(policy, &mut out);
    vote(policy, &mut out);
    builds(policy, &mut out);
    origin(policy, &mut out);
    platforms(policy, &mut out);
    erasing(policy, &mut out);
    emergencies(policy, &mut out);
    absent(policy, &mut out);
    out.0
}

struct Sentences(Vec<Sentence>);

impl Sentences {
    fn means(&mut self, text: String) {
        self.0.push(Sentence {
            level: Level::Means,
            text,
        });
    }

    fn warns(&mut self, text: impl Into<String>) {
        self.0.push(Sentence {
            level: Level::Warns,
            text: text.into(),
        });
    }

    fn impossible(&mut self, text: impl Into<String>) {
        self.0.push(Sentence {
            level: Level::Impossible,
            text: text.into(),
        });
    }
}

fn chain(p: &Policy, out: &mut Sentences) {
    let c = &p.chain;
    out.means(format!(
        "It trusts the chain {:?} from header {} with hash {} on.",
        c.chain_id,
        c.checkpoint.height,
        hex::encode(c.checkpoint.hash)
    ));
    let (n, d) = c.trust_threshold;
    out.means(format!(
        "It skips to a later header when validators with more than {n}/{d} of the power that it trusted signed it, and \
         the headers lie at most {} apart. Adjacent headers have no such limit.",
        span(c.trusting_period_secs)
    ));
    if c.trusting_period_secs >= 21 * DAY {
        out.warns(format!(
            "The trusting period is {}. The usual time to unbond is 21 days: validators who have left may sign a fork that \
             this enclave follows.",
            span(c.trusting_period_secs)
        ));
    }
    out.means(format!(
        "Offers begin {} blocks before the plan's height; before that a cancellation can still pass.",
        c.lead_blocks
    ));
}

fn vote(p: &Policy, out: &mut Sentences) {
    let c = &p.chain;
    out.means(format!(
        "A vote counts with a turnout of at least {} of all bonded power (less {} for power that moves meanwhile), more than \
         {} of the votes that do not abstain in favour ({} when expedited), and at most {} of all votes with veto.",
        c.quorum, c.slack, c.threshold, c.expedited_threshold, c.veto
    ));
    out.warns("If the chain lowers its own bars below these, a proposal can pass on the chain and be refused here.");
    out.means(format!(
        "A vote with more than {} of all bonded power in favour may name a signer that is not listed.",
        c.override_share
    ));
    if c.override_share < c.threshold {
        out.warns(format!(
            "The override share {} is below the threshold {}: a modest majority with a good turnout can replace the \
             developers' key.",
            c.override_share, c.threshold
        ));
    }
}

fn builds(p: &Policy, out: &mut Sentences) {
    out.means(format!(
        "A build must be signed by one of {} keys, with product id {} and security version {} or higher.",
        p.builds.signers.len(),
        p.builds.product_id,
        p.builds.min_svn
    ));
    out.impossible("A build with the DEBUG attribute never gets the keyring, nor does one below that security version.");
}

fn origin(p: &Policy, out: &mut Sentences) {
    match &p.origin {
        Origin::Genesis => {
            out.means("This build makes the network's first seed itself.".into());
            out.warns(
                "It knows no commitment: a joining node of this build takes epoch 0 from any attested enclave of the same build.",
            );
        }
        Origin::Legacy => {
            out.means(
                "This build takes the first seed from a file that Intel's SDK sealed.".into(),
            );
            out.warns(
                "If that file was sealed under MRSIGNER, epoch 0 is exposed: whoever kept a copy of it and signs with that key \
                 reads it for ever. Only a new epoch and re-encryption end that.",
            );
        }
        Origin::Commitments(list) => {
            out.means(format!(
                "The keyring must be handed over, and every seed must match the commitment of its epoch ({} known here).",
                list.len()
            ));
            out.impossible("This build never makes a new seed: it has no genesis.");
        }
    }
    match p.phase {
        Phase::Shadow => out.warns(
            "Phase shadow: files are sealed under MRSIGNER, and every epoch is exposed. The developers' key alone reads the \
             keyring without any vote. Nothing is erased.",
        ),
        Phase::Mrenclave => {
            out.means("Files are sealed under MRENCLAVE: the handover is the only way to another build.".into());
            out.impossible("No other build reads this build's files, whoever signs it. Without a handover they are lost with it.");
        }
    }
}

fn platforms(p: &Policy, out: &mut Sentences) {
    let statuses: Vec<String> = p.tcb.statuses.iter().map(|s| format!("{s}")).collect();
    out.means(format!(
        "A seed crosses to another machine whose TCB is {}, with collateral at most {} old.",
        statuses.join(" or "),
        span(p.tcb.max_collateral_age_secs)
    ));
    if p.tcb.max_collateral_age_secs < 7 * DAY {
        out.warns("Collateral may be less than 7 days old only: when Intel's service is down for longer, no node can join. Running nodes and upgrades on one machine go on.");
    }
    match p.admission {
        Admission::Any => out.warns(
            "Admission is any: nobody vouches for machines. A stolen attestation key opens the door, and the barrier cannot judge \
             which share of voting power holds the keyring.",
        ),
        Admission::Vouched => {
            out.means(
                "A seed crosses only to machines that a bonded validator names in its details (baton1:<id>, at most three). An \
                 edit that takes a name away counts from the next block on."
                    .into(),
            );
            if p.barrier.power_share.is_none() {
                out.warns(
                    "The barrier counts machines and no power: barrier.power_share says which share of voting power must hold \
                     the keyring before a copy is erased.",
                );
            }
        }
        Admission::Voted => {
            out.means("A seed crosses only to machines that a passed proposal names (metadata baton-admit:<id>).".into());
            out.warns("A machine that a vote admitted stays admitted: no later vote can take that back.");
            out.warns("The barrier cannot judge which share of voting power holds the keyring.");
        }
    }
}

fn erasing(p: &Policy, out: &mut Sentences) {
    let b = &p.barrier;
    if p.phase == Phase::Shadow {
        out.impossible("No copy is ever erased in phase shadow.");
        return;
    }
    out.means(format!(
        "An old copy is erased after its own successor and {} distinct machines show that they hold the keyring, each at \
         least {} blocks after it began to serve.",
        b.platforms, b.grace_blocks
    ));
    if let Some(share) = b.power_share {
        out.means(format!("These machines must stand for {share} of the voting power, by the records of the validators that vouch for them."));
    }
    out.impossible(format!(
        "A network with fewer than {} machines never erases an old copy. Nothing breaks by it; the old builds stay a way to the \
         keyring.",
        b.platforms
    ));
    if b.platforms == 1 {
        out.warns("One machine is enough to erase: if it fails, the copies that were erased do not come back.");
    }
    if b.grace_blocks == 0 {
        out.warns("There is no grace: a copy may be erased before the new build has shown that it survives its first blocks.");
    }
    out.warns(
        "Erasing is a tombstone: a host that kept the old file can start the old build again. That build does what it was \
         allowed to do before, and nothing more.",
    );
}

fn emergencies(p: &Policy, out: &mut Sentences) {
    if let Some(c) = &p.council {
        match c.needed {
            0 => out.means("An emergency order needs the account keys of validators with more than two thirds of the bonded power.".into()),
            m => out.means(format!(
                "An emergency order needs {m} of {} council members, or the account keys of validators with more than two thirds \
                 of the bonded power.",
                c.members.len()
            )),
        }
        out.means(format!(
            "Nothing leaves by an order before it has been public for {} blocks{}.",
            c.notice_blocks,
            p.witnesses.as_ref().map_or(String::new(), |w| format!(
                ", or for {} by the dates of {} of {} witnesses",
                span(w.notice_secs),
                w.needed,
                w.keys.len()
            ))
        ));
        out.impossible("An order cannot be quiet, name an unlisted signer or a debug build, or change who is on the council.");
        if c.needed == 1 {
            out.warns("One council member alone can order a handover. Only the notice stands between that key and the seed.");
        }
        if c.needed != 0 && c.needed as usize == c.members.len() {
            out.warns("Every council member must sign: one lost key, and the council can order nothing.");
        }
        if p.witnesses.is_none() {
            out.impossible("When the chain stands still, no order can show its notice: there are no witnesses.");
        }
    }
    if let Some(w) = &p.witnesses {
        if w.needed == 1 {
            out.warns("One witness alone dates everything: if it lies about time, a notice is as short as it likes.");
        }
        match w.dated_exports {
            true => {
                out.means(format!(
                    "Nothing leaves without a date of {} of {} witnesses over this enclave's nonce, at most {} after the one before.",
                    w.needed,
                    w.keys.len(),
                    span(p.chain.trusting_period_secs)
                ));
                out.impossible("A copy that was set aside for longer than the trusting period hands on nothing, whatever chain it is shown.");
                out.warns("Without enough witnesses no handover goes through, and a node that shows no date for a trusting period must join again.");
            }
            false => out.warns("Witness dates are not asked for at exports: a copy of the old build that was set aside can be shown a fork within the trusting period."),
        }
    }
}

fn absent(p: &Policy, out: &mut Sentences) {
    if p.council.is_none() {
        out.impossible("There is no council: when the chain cannot vote, nobody can name a build, not even for a hotfix.");
    }
    lifeboat(p, out);
    if p.rotation_blocks.is_none() {
        out.impossible("There is no rotation: a seed that leaked stays valid.");
    }
    if p.witnesses.is_none() {
        out.warns("There are no witnesses: a copy of the old build that was set aside can be shown a fork within the trusting period.");
    }
    match p.readiness_wanted {
        0 => out.warns("No rehearsed nodes are asked for before a handover: the first failure shows itself in the real one."),
        n => out.means(format!("Operators want to see {n} rehearsed nodes before offers begin. The enclave does not insist.")),
    }
}

fn lifeboat(p: &Policy, out: &mut Sentences) {
    let Some(l) = &p.lifeboat else {
        if p.council.is_some() {
            out.impossible("There is no lifeboat: when no build starts any more, the seed is lost.");
        }
        return;
    };
    out.means(format!(
        "Every copy in force keeps an escrow, for the council key {} and the lifeboat key {}: both together open it, for a build that \
         the council ordered in public.",
        l.council_digest, l.key_digest
    ));
    out.warns("An escrow that was made once stays open to these keys and these council members: a later policy does not change it.");
}

const DAY: u64 = 86_400;

/// A length of time in the largest unit that divides it.
fn span(secs: u64) -> String {
    let units = [(DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| secs.is_multiple_of(*unit))
        .unwrap_or((1, "second"));
    let n = secs.checked_div(unit).unwrap_or(secs);
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}
