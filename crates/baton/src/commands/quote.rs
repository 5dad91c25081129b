//! `baton quote verify` and `quote collateral`.

use std::path::Path;

use baton_attest::identity::Identity;
use baton_attest::policy::{BuildRules, TcbPolicy, TcbStatus};
use baton_attest::quote::{
    CheckedQuote, Collateral, MAX_COLLATERAL_LEN, MAX_QUOTE_LEN, Purpose, QuoteError, QuoteTime,
    check_quote, intel_root,
};
use baton_host::collateral::{FetchError, Part, Pccs};
use baton_host::files::write_whole;
use baton_host::http::Roots;
use serde_json::json;

use crate::cli::{PurposeArg, QuoteArgs, QuoteCollateralArgs};
use crate::files;
use crate::output::{Failure, Report};
use crate::times::show_time;

/// Verifies a quote and says what it shows.
pub fn verify(args: &QuoteArgs) -> Result<Report, Failure> {
    let quote = read_quote(&args.quote)?;
    let collateral = read_collateral(&args.collateral)?;
    let (tcb, builds) = match &args.policy {
        Some(path) => files::read_quote_policy(path)?,
        None => (for_looking(), None),
    };
    let purpose = match args.purpose {
        PurposeArg::Secret => Purpose::Secret,
        PurposeArg::Receipt => Purpose::Receipt,
    };
    let time = QuoteTime(args.at.unwrap_or(0));
    let checked =
        check_quote(&quote, &collateral, &tcb, time, purpose).map_err(|e| refusal(args, e))?;
    let mut out = Report::new();
    judged(args, &checked, &mut out);
    identity(checked.identity(), &mut out);
    platform(&checked, &mut out);
    verdict(args, &checked, builds.as_ref(), &mut out);
    Ok(out)
}

/// Fetches what a quote is verified with.
pub fn collateral(args: &QuoteCollateralArgs) -> Result<Report, Failure> {
    let quote = read_quote(&args.quote)?;
    let roots = args.tls_roots.as_deref().map(Roots::with_file).transpose().map_err(Failure::input)?;
    let pccs = Pccs::new(&args.pccs, args.root_crl.as_deref(), &roots.unwrap_or_default()).map_err(Failure::input)?;
    let set = pccs.fetch(&quote).map_err(|e| match e {
        FetchError::Quote(_) => Failure::input(&e).at(args.quote.display()),
        _ => Failure::refused(&e),
    })?;
    write_whole(&args.out, set.to_json().as_bytes()).map_err(|e| Failure::input(format!("{}: {e}", args.out.display())))?;
    let mut out = Report::new();
    out.both("from", "from", pccs.url()).both("collateral", "collateral", args.out.display());
    let mut dates = Vec::new();
    for (what, issued, until) in set.claimed_dates().map_err(Failure::refused)? {
        out.row(what, format!("issued {}, valid until {}", show_time(issued), show_time(until)));
        dates.push(json!({"what": what, "issued": issued, "until": until}));
    }
    out.field("dates", dates);
    out.text("nothing is verified yet; next: `baton quote verify` with it");
    Ok(out)
}

/// Without a policy: Intel's root, every status that Intel itself does not revoke, any age.
fn for_looking() -> TcbPolicy {
    TcbPolicy {
        statuses: vec![
            TcbStatus::UpToDate,
            TcbStatus::SwHardeningNeeded,
            TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSwHardeningNeeded,
            TcbStatus::OutOfDate,
            TcbStatus::OutOfDateConfigurationNeeded,
        ],
        denied_advisories: vec![],
        allowed_advisories: None,
        min_tcb_evaluation: 0,
        max_collateral_age_secs: u64::MAX,
        roots: vec![intel_root().to_vec()],
    }
}

fn read_quote(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read(
        path,
        "quote",
        MAX_QUOTE_LEN.saturating_mul(2).saturating_add(16),
    )?;
    Ok(files::from_hex(&bytes).unwrap_or(bytes))
}

/// A whole set first; each further file replaces one part of it.
fn read_collateral(paths: &[impl AsRef<Path>]) -> Result<Collateral, Failure> {
    let mut set: Option<Collateral> = None;
    for path in paths.iter().map(AsRef::as_ref) {
        let bytes = files::read(path, "collateral", MAX_COLLATERAL_LEN)?;
        let part = Part::read(&bytes);
        match (&mut set, part) {
            (Some(set), Some(part)) => part.replace(set),
            (_, None) => {
                set = Some(
                    Collateral::from_json(&bytes)
                        .map_err(|e| Failure::input(e).at(path.display()))?,
                );
            }
            (None, Some(_)) => {
                return Err(Failure::input(format!("collateral {}: one part alone", path.display()))
                    .next("name a whole set (JSON of dcap-qvl's form) first, then the parts that replace its own"));
            }
        }
    }
    set.ok_or_else(|| Failure::input("no collateral"))
}

fn judged(args: &QuoteArgs, q: &CheckedQuote, out: &mut Report) {
    let newest = q.newest_signed_date().0;
    let (at, source) = match (args.purpose, args.at) {
        (PurposeArg::Receipt, _) => (
            newest,
            "newest date signed in the collateral, as for every receipt",
        ),
        (PurposeArg::Secret, Some(at)) if at >= newest => (at, "as given"),
        (PurposeArg::Secret, Some(_)) => (
            newest,
            "newest date signed in the collateral, which is later than the given time",
        ),
        (PurposeArg::Secret, None) => (
            newest,
            "newest date signed in the collateral; whether it is still current is not judged without --at",
        ),
    };
    let looking = if args.policy.is_none() && q.status() != TcbStatus::UpToDate {
        " (accepted for looking; a policy decides)"
    } else {
        ""
    };
    out.field("status", q.status().to_string())
        .row("TCB status", format!("{}{looking}", q.status()));
    let advisories = if q.advisories().is_empty() {
        "none".into()
    } else {
        q.advisories().join(", ")
    };
    out.field("advisories", q.advisories().to_vec())
        .row("advisories", advisories);
    out.field("time", at)
        .field("time_source", source)
        .row("judged at", format!("{} ({source})", show_time(at)));
    out.both(
        "purpose",
        "purpose",
        match args.purpose {
            PurposeArg::Secret => "secret",
            PurposeArg::Receipt => "receipt",
        },
    );
    let policy = match &args.policy {
        Some(path) => path.display().to_string(),
        None => {
            "none: Intel's root, every status that is not revoked, any age of collateral".into()
        }
    };
    out.both("policy", "policy", policy);
}

fn identity(id: &Identity, out: &mut Report) {
    out.row("measurement", id.measurement)
        .row("signer", id.signer);
    out.row("product id", id.product_id).row("svn", id.svn);
    out.row(
        "attributes",
        format!(
            "flags {:#x}, xfrm {:#x}; DEBUG off",
            id.attributes.flags, id.attributes.xfrm
        ),
    );
    let config = if id.config_id == [0; 64] {
        "none".into()
    } else {
        hex::encode(id.config_id)
    };
    out.row(
        "config id",
        format!(
            "{config}; config svn {}; miscselect {:#x}",
            id.config_svn, id.misc_select
        ),
    );
    out.row("identity", id.digest());
    out.field(
        "identity",
        json!({
            "measurement": id.measurement,
            "signer": id.signer,
            "product_id": id.product_id,
            "svn": id.svn,
            "flags": id.attributes.flags,
            "xfrm": id.attributes.xfrm,
            "misc_select": id.misc_select,
            "config_id": hex::encode(id.config_id),
            "config_svn": id.config_svn,
            "debug": id.is_debug(),
            "digest": id.digest(),
        }),
    );
}

fn platform(q: &CheckedQuote, out: &mut Report) {
    out.both("report data", "report_data", hex::encode(q.report_data()));
    out.both("platform id", "platform", q.platform());
    out.both("FMSPC", "fmspc", hex::encode_upper(q.fmspc()));
    out.both("CPUSVN", "cpu_svn", hex::encode(q.cpu_svn()));
    out.both("CPUSVN of PCK", "pck_cpu_svn", hex::encode(q.pck_cpu_svn()));
    out.field("pce_svn", q.pce_svn()).row("PCESVN", q.pce_svn());
    let newest = q.newest_signed_date().0;
    out.field("newest_signed_date", newest)
        .row("newest signed date", show_time(newest));
    out.field("tcb_evaluation", q.tcb_evaluation())
        .row("TCB evaluation", format!("number {}", q.tcb_evaluation()));
}

fn verdict(args: &QuoteArgs, q: &CheckedQuote, builds: Option<&BuildRules>, out: &mut Report) {
    let refused = builds.and_then(|rules| rules.check(q.identity()).err());
    match (builds, &refused) {
        (None, _) => out.field("build_rules", "not judged").row(
            "build rules",
            "not judged: no policy, or only its section `tcb`",
        ),
        (Some(_), None) => out.both(
            "build rules",
            "build_rules",
            "met; the measurement is the vote's to name",
        ),
        (Some(_), Some(e)) => out.both("build rules", "build_rules", e),
    };
    match (refused, &args.policy) {
        (Some(e), _) => out.verdict(false, e),
        (None, Some(_)) => out.verdict(true, "the quote is genuine, and the policy accepts it"),
        (None, None) => out.verdict(
            true,
            "the quote is genuine; without a policy nothing more is said",
        ),
    };
}

/// A file that is no quote of our kind is bad input; a quote that does not hold is refused.
fn refusal(args: &QuoteArgs, e: QuoteError) -> Failure {
    match e {
        QuoteError::TooLarge { .. } | QuoteError::Length { .. } | QuoteError::Kind { .. } => {
            Failure::input(&e).at(args.quote.display())
        }
        QuoteError::Expired { .. } => expired(args, &e),
        QuoteError::OtherPlatform { .. } => {
            Failure::refused(&e).next("fetch the collateral for this quote's FMSPC")
        }
        QuoteError::Status { .. } => Failure::refused(&e)
            .next("update the machine's firmware, or change section `tcb` of the policy by a vote"),
        _ => Failure::refused(&e),
    }
}

fn expired(args: &QuoteArgs, e: &QuoteError) -> Failure {
    let QuoteError::Expired { what, until, time } = e else {
        return Failure::refused(e);
    };
    let text = format!(
        "{what} has expired: expected a time until {}, got {}",
        show_time(*until),
        show_time(*time)
    );
    Failure::refused(text).next(match args.purpose {
        PurposeArg::Secret => {
            "fetch new collateral, or judge the quote at an earlier time with --at"
        }
        PurposeArg::Receipt => "fetch collateral whose parts are of about the same date",
    })
}
