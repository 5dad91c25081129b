//! `baton convert`, `baton sign`, `baton measure` and `baton sigstruct show`: from a program to the build that people vote on.

use std::path::Path;

use baton_attest::sgxs::sim_contents;
use baton_attest::sigstruct::{SIGSTRUCT_LEN, SigningKey, Sigstruct, check_sigstruct};
use baton_core::policy::Policy;
use baton_enclave::sim::Image;
use baton_host::sgx::image::{ImageError, MAX_SGXS_BYTES, Pages};
use baton_host::sgx::inspect::Inspection;
use baton_host::sgx::sign::{self, Beside, Layout, MAX_ELF_BYTES, SignError};
use serde_json::{Value, json};

use crate::cli::{ConvertArgs, MeasureArgs, SignArgs, SigstructArgs};
use super::ceremony::{development_tcb, pki};
use crate::files::{read, read_quote_policy, read_text, read_valid_policy, write};
use crate::output::{Failure, Report};

/// Makes an image without a policy of a program.
pub fn convert(args: &ConvertArgs) -> Result<Report, Failure> {
    let elf = read(&args.program, "program", MAX_ELF_BYTES)?;
    let layout = Layout { heap_bytes: args.heap << 20, stack_bytes: args.stack << 10, threads: args.threads, debug: false };
    let pages = sign::convert(&elf, &layout).map_err(|e| Failure::input(e).at(args.program.display()))?;
    let slot = pages.slot().map_err(|e| Failure::input(e).at(args.program.display()))?;
    let sgxs = pages.to_sgxs().map_err(Failure::input)?;
    write(&args.out, &sgxs)?;
    let mut out = Report::new();
    out.both("version", "version", slot.version);
    out.both("program", "measurement", pages.measurement().map_err(Failure::input)?);
    out.field("bytes", sgxs.len()).row("size", format!("{} bytes, in {}", sgxs.len(), args.out.display()));
    out.text("it holds no policy and would not start: `baton sign` puts one in");
    Ok(out)
}

/// Signs a lifeboat's or a ceremony's program. Their folders run what is in `program.sgxs` there.
fn sign_beside(args: &SignArgs, which: Beside, pages: &Pages, key: &SigningKey) -> Result<Report, Failure> {
    let at = |e: SignError| Failure::input(e).at(args.program.display());
    let mut out = Report::new();
    let image = match (which, &args.policy) {
        (Beside::Ceremony, Some(_)) => {
            return Err(Failure::input("a ceremony's program takes no policy: everybody's is the same").next("leave --policy out"));
        }
        (Beside::Ceremony, None) => sign::ceremony(pages, key, args.svn).map_err(at)?,
        (Beside::Lifeboat, Some(path)) => sign::lifeboat(pages, &read_quote_policy(path)?.0, key, args.svn).map_err(at)?,
        (Beside::Lifeboat, None) => {
            out.text("without --policy: it trusts the machines of rehearsals, whose keys are public");
            sign::lifeboat(pages, &development_tcb(&pki()?)?, key, args.svn).map_err(at)?
        }
    };
    let io = |e: std::io::Error| Failure::input(format!("{}: {e}", args.out.display()));
    args.out.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(io)?;
    write_build(args, &image, key, None, &mut out)?;
    Ok(out)
}

/// Writes image and SIGSTRUCT, and says what they are.
fn write_build(args: &SignArgs, image: &Image, key: &SigningKey, policy: Option<&Policy>, out: &mut Report) -> Result<(), Failure> {
    let sig = args.out.with_extension("sig");
    write(&args.out, &image.sgxs)?;
    write(&sig, &image.sigstruct)?;
    out.both("measurement", "measurement", image.measurement().map_err(Failure::input)?);
    out.both("signer", "signer", key.signer());
    out.field("svn", args.svn).row("svn", args.svn);
    if let Some(policy) = policy {
        out.both("policy", "policy_digest", policy.digest());
    }
    out.field("sgxs", args.out.display().to_string()).field("sig", sig.display().to_string());
    out.row("files", format!("{} ({} bytes), {}", args.out.display(), image.sgxs.len(), sig.display()));
    Ok(())
}

/// Puts a policy into a program, and signs.
pub fn sign(args: &SignArgs) -> Result<Report, Failure> {
    let bytes = read(&args.program, "program", MAX_SGXS_BYTES)?;
    let at = |e: SignError| Failure::input(e).at(args.program.display());
    let pages = sign::program(&bytes, &Layout::default()).map_err(at)?;
    let key = signing_key(&args.key)?;
    if let Some(which) = sign::beside(&pages).map_err(|e| at(e.into()))? {
        return sign_beside(args, which, &pages, &key);
    }
    let image = match &args.policy {
        Some(path) => sign::build(&pages, &read_valid_policy(path)?, &key, args.svn).map_err(at)?,
        None => sign::sign(&pages, &key, args.svn).map_err(at)?,
    };
    let policy = Pages::from_sgxs(&image.sgxs).and_then(|p| p.policy()).map_err(Failure::input)?;
    if !policy.builds.signers.contains(&key.signer()) {
        let listed: Vec<String> = policy.builds.signers.iter().map(ToString::to_string).collect();
        return Err(Failure::refused(format!(
            "the key is not one that the policy lists: expected {}, got {}; sign with a listed key, or list this one in section `builds`",
            listed.join(" or "), key.signer()
        )));
    }
    let mut out = Report::new();
    write_build(args, &image, &key, Some(&policy), &mut out)?;
    out.text("check it anywhere: `baton measure` says the same, and sha256sum of the .sgxs file is the measurement");
    Ok(out)
}

fn signing_key(text: &str) -> Result<SigningKey, Failure> {
    let key = match text {
        "1" => SigningKey::development(1),
        "2" => SigningKey::development(2),
        path => SigningKey::from_pem(&read_text(Path::new(path), "signing key", 64 << 10)?),
    };
    key.map_err(|e| Failure::input(e).at(text).next("make one: openssl genrsa -3 -out key.pem 3072"))
}

/// Says everything about an `.sgxs` file.
pub fn measure(args: &MeasureArgs) -> Result<Report, Failure> {
    let bytes = read(&args.file, "enclave", MAX_SGXS_BYTES)?;
    let (seen, pages) = Inspection::of(&bytes).map_err(|e| Failure::input(e).at(args.file.display()))?;
    let mut out = Report::new();
    out.both("measurement", "measurement", seen.measurement);
    out.field("file_bytes", seen.file_bytes).row("file", format!("{} bytes", seen.file_bytes));
    out.field("address_range_bytes", seen.size).row("address range", format!("{} KiB", seen.size >> 10));
    let segments: Vec<Value> = seen
        .segments
        .iter()
        .map(|s| json!({ "offset": s.offset, "bytes": s.bytes, "access": s.access, "measured": s.measured, "what": s.what }))
        .collect();
    out.field("segments", segments);
    for s in &seen.segments {
        let content = if s.measured { "measured" } else { "empty" };
        out.row(format!("  {:#010x}", s.offset), format!("{} {:>8} KiB  {:<8}  {}", s.access, s.bytes >> 10, content, s.what));
    }
    out.field("heap_bytes", seen.heap_bytes).row("heap", format!("{} KiB", seen.heap_bytes >> 10));
    out.field("threads", seen.threads).row("threads", seen.threads);
    let epc = [seen.epc_bytes(1), seen.epc_bytes(2)];
    out.field("epc_bytes", epc[0]).field("epc_bytes_two", epc[1]);
    out.row("EPC", format!("{:.1} MiB, {:.1} MiB for two at once (a handover on one machine)", mib(epc[0]), mib(epc[1])));
    inside(&mut out, &args.file, &bytes, &pages)?;
    signature(&mut out, args, &bytes)?;
    Ok(out)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The program's version and its policy.
fn inside(out: &mut Report, path: &Path, bytes: &[u8], pages: &Pages) -> Result<(), Failure> {
    if let Some((name, version, policy)) = sim_contents(bytes) {
        out.both("program", "program", format!("{name} {version}, for the simulator: it holds no machine code"));
        let policy = Policy::from_cbor(&policy).map_err(Failure::refused)?;
        return said(out, &policy);
    }
    if let Ok(Some(which)) = sign::beside(pages) {
        return inside_beside(out, which, pages);
    }
    match pages.slot() {
        Err(ImageError::Slots { got: 0 }) => {
            out.both("program", "program", "unknown: it has no policy slot, so it is no build of Baton's");
            return Ok(());
        }
        slot => {
            let slot = slot.map_err(|e| Failure::refused(e).at(path.display()))?;
            out.both("program", "program", format!("baton-enclave {}", slot.version))
        }
    };
    match pages.policy() {
        Err(ImageError::NoPolicy) => {
            out.both("policy", "policy_digest", "none: it would not start; `baton sign` puts one in");
            Ok(())
        }
        policy => said(out, &policy.map_err(Failure::refused)?),
    }
}

/// A program beside the keeper.
fn inside_beside(out: &mut Report, which: Beside, pages: &Pages) -> Result<(), Failure> {
    let slot = pages.slot().map_err(Failure::refused)?;
    out.both("program", "program", slot.version);
    if which == Beside::Lifeboat {
        match minicbor::decode::<baton_enclave::lifeboat::Config>(&slot.policy) {
            Ok(config) => {
                out.field("tcb", serde_json::to_value(&config.tcb).unwrap_or(Value::Null));
                out.row("quotes of", format!("{} root(s), with {} statuses; --json prints the rules", config.tcb.roots.len(), config.tcb.statuses.len()));
            }
            Err(_) => {
                out.text("it holds no rules for quotes: it would not start; `baton sign` puts them in");
            }
        }
    }
    Ok(())
}

fn said(out: &mut Report, policy: &Policy) -> Result<(), Failure> {
    out.both("policy", "policy_digest", policy.digest());
    out.row("", format!("chain {}, checkpoint {}", policy.chain.chain_id, policy.chain.checkpoint.height));
    out.field("policy", serde_json::to_value(policy).unwrap_or(Value::Null));
    out.row("", "`baton policy check` says what it means; --json prints it");
    Ok(())
}

/// The SIGSTRUCT beside the file, if there is one.
fn signature(out: &mut Report, args: &MeasureArgs, sgxs: &[u8]) -> Result<(), Failure> {
    let path = args.sig.clone().unwrap_or_else(|| args.file.with_extension("sig"));
    if args.sig.is_none() && !path.exists() {
        out.both("signature", "signature", "none beside the file");
        return Ok(());
    }
    let sig = read(&path, "SIGSTRUCT", SIGSTRUCT_LEN)?;
    let checked = check_sigstruct(&sig).map_err(|e| Failure::refused(e).at(path.display()))?;
    let fields = checked.fields();
    let measurement = baton_attest::sgxs::measure(sgxs).map_err(Failure::input)?.measurement;
    out.both("signer", "signer", fields.signer());
    attributes(out, fields);
    let fits = fields.measurement == measurement;
    let text = if fits {
        format!("{} signs this measurement", path.display())
    } else {
        format!("{} signs another enclave: expected {measurement}, got {}; it would not load", path.display(), fields.measurement)
    };
    out.verdict(fits, text);
    Ok(())
}

fn attributes(out: &mut Report, s: &Sigstruct) {
    use baton_attest::identity::flags::DEBUG;
    out.field("product_id", s.product_id).field("svn", s.svn).row("product id, svn", format!("{}, {}", s.product_id, s.svn));
    let debug = match (s.attribute_mask.flags & DEBUG != 0, s.attributes.flags & DEBUG != 0) {
        (true, false) => "DEBUG refused",
        (true, true) => "DEBUG demanded: its memory is open to the host",
        (false, _) => "DEBUG left to the host",
    };
    out.both(
        "attributes",
        "attributes",
        format!(
            "{:#x} (mask {:#x}), XFRM {:#x} (mask {:#x}), {debug}",
            s.attributes.flags, s.attribute_mask.flags, s.attributes.xfrm, s.attribute_mask.xfrm
        ),
    );
}

/// Shows a SIGSTRUCT, and whether its signature holds.
pub fn sigstruct(args: &SigstructArgs) -> Result<Report, Failure> {
    let bytes = read(&args.file, "SIGSTRUCT", SIGSTRUCT_LEN)?;
    let at = |e| Failure::input(e).at(args.file.display());
    let s = Sigstruct::parse(&bytes).map_err(at)?;
    let mut out = Report::new();
    out.both("measurement", "measurement", s.measurement);
    out.both("signer", "signer", s.signer());
    attributes(&mut out, &s);
    out.both("MISCSELECT", "misc_select", format!("{:#x} (mask {:#x})", s.misc_select, s.misc_mask));
    out.both("date", "date", format!("{:04x}-{:02x}-{:02x}", s.date_bcd >> 16, (s.date_bcd >> 8) & 0xff, s.date_bcd & 0xff));
    out.both("vendor", "vendor", format!("{:#x}", s.vendor));
    match check_sigstruct(&bytes) {
        Ok(_) => out.verdict(true, "the signature holds"),
        Err(e) => out.verdict(false, e),
    };
    Ok(out)
}
