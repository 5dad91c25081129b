//! EINIT: which SIGSTRUCT lets which enclave run.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use softsgx::{Attributes, Device, Error, InitError, Launch, init};

use crate::build::{Enclave, Key, Options, device, platform, stream};

fn launch_of(options: &Options) -> Launch {
    Launch {
        attributes: options.attributes(),
        misc_select: options.misc_select,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn measured(version: u64) -> [u8; 32] {
    softsgx::Image::read(&mut &stream(version).bytes()[..])
        .unwrap()
        .mr_enclave()
}

#[test]
fn a_signed_build_runs_as_what_its_sigstruct_says() {
    let options = Options::default();
    let enclave = options.launch(&device()).unwrap();
    let id = enclave.identity();
    assert_eq!(id.mr_enclave, measured(1));
    assert_eq!((id.product_id, id.svn), (7, 3));
    assert_eq!(id.attributes.flags, 5, "INIT is set, nothing else is added");
    assert_eq!(id.mr_signer, Key::number(1).signer());
}

#[test]
fn a_sigstruct_with_any_byte_changed_is_refused() {
    let options = Options::default();
    let good = options.sigstruct(&stream(1).bytes());
    let launch = launch_of(&options);
    assert!(init(&good, measured(1), &launch).is_ok());
    for at in 0..1808 {
        let mut bytes: Vec<u8> = AsRef::<[u8]>::as_ref(&good).to_vec();
        bytes[at] ^= 1;
        let bad = sgx_isa::Sigstruct::try_copy_from(&bytes).unwrap();
        assert!(init(&bad, measured(1), &launch).is_err(), "byte {at}");
    }
}

#[test]
fn a_wrong_format_is_refused_by_its_field_even_where_the_signature_holds() {
    type Change = fn(&mut sgx_isa::Sigstruct);
    let cases: [(&str, Change); 9] = [
        ("HEADER", |s| s.header[6] = 1),
        ("VENDOR", |s| s.vendor = 1),
        ("HEADER2", |s| s.header2[0] = 2),
        ("the reserved field at 44", |s| s._reserved1[3] = 1),
        ("EXPONENT", |s| s.exponent = 65537),
        ("CET_ATTRIBUTES", |s| s.cet_attributes_mask = 1),
        ("the reserved field at 910", |s| s._reserved2 = 1),
        ("the reserved field at 992", |s| s._reserved3[0] = 1),
        ("the reserved field at 1028", |s| s._reserved4[0] = 1),
    ];
    let options = Options::default();
    let good = options.sigstruct(&stream(1).bytes());
    let launch = launch_of(&options);
    let mut unchanged = good.clone();
    Key::number(1).sign_again(&mut unchanged);
    assert!(init(&unchanged, measured(1), &launch).is_ok());
    for (field, change) in cases {
        let mut sig = good.clone();
        change(&mut sig);
        Key::number(1).sign_again(&mut sig);
        let got = init(&sig, measured(1), &launch);
        assert_eq!(got, Err(InitError::SigStruct { field }));
    }
}

#[test]
fn a_sigstruct_of_another_build_is_refused_and_both_measurements_are_named() {
    let options = Options::default();
    let sig = options.sigstruct(&stream(2).bytes());
    let stream = stream(1).bytes();
    let error = device()
        .launch(&mut &stream[..], &sig, options.attributes(), 0)
        .err()
        .unwrap();
    assert!(
        matches!(error, Error::Init(InitError::Measurement { .. })),
        "{error}"
    );
    let text = error.to_string();
    let hex = |m: [u8; 32]| m.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert!(
        text.contains(&hex(measured(1))) && text.contains(&hex(measured(2))),
        "{text}"
    );
}

#[test]
fn a_launch_outside_of_what_was_signed_is_refused() {
    let options = Options::default();
    let sig = options.sigstruct(&stream(1).bytes());
    let refused = |change: fn(&mut Launch)| {
        let mut launch = launch_of(&options);
        change(&mut launch);
        init(&sig, measured(1), &launch).unwrap_err()
    };
    assert!(matches!(
        refused(|l| l.attributes.flags |= 2),
        InitError::Attribute { .. }
    ));
    assert!(matches!(
        refused(|l| l.attributes.flags |= 0x80),
        InitError::Attribute { .. }
    ));
    assert!(matches!(
        refused(|l| l.attributes.xfrm = 7),
        InitError::Attribute { .. }
    ));
    assert!(matches!(
        refused(|l| l.misc_select = 1),
        InitError::Attribute { .. }
    ));
    assert!(matches!(
        refused(|l| l.config_svn = 1),
        InitError::NeedsKss { .. }
    ));
    assert!(matches!(
        refused(|l| l.config_id[63] = 1),
        InitError::NeedsKss { .. }
    ));
}

#[test]
fn nobody_gets_the_attributes_of_architectural_enclaves_even_if_signed() {
    // INIT, 32-bit, PROVISIONKEY, EINITTOKENKEY, and bits that have no meaning here.
    for flags in [5, 0, 0x14, 0x24, 0x44, 1 << 63 | 4] {
        let options = Options {
            flags,
            ..Options::default()
        };
        let error = options.launch(&device()).err().unwrap();
        assert!(
            matches!(error, Error::Init(InitError::Attribute { .. })),
            "{flags:#x}: {error}"
        );
    }
}

#[test]
fn ids_of_kss_need_the_attribute() {
    let mut options = Options {
        ext_product_id: [1; 16],
        ..Options::default()
    };
    let error = options.launch(&device()).err().unwrap();
    assert!(
        matches!(
            error,
            Error::Init(InitError::NeedsKss {
                field: "ISVEXTPRODID"
            })
        ),
        "{error}"
    );
    options.flags |= 0x80;
    assert_eq!(
        options.launch(&device()).unwrap().identity().ext_product_id,
        [1; 16]
    );
    let device = Device::builder()
        .platform(platform())
        .config([1; 64], 0)
        .build()
        .unwrap();
    assert!(
        Options::default().launch(&device).is_err(),
        "CONFIGID without KSS"
    );
}

#[test]
fn an_xfrm_without_the_basic_parts_or_beyond_the_machine_is_refused() {
    let launch = |xfrm| {
        let options = Options {
            xfrm,
            ..Options::default()
        };
        options.launch(&device()).err().unwrap()
    };
    for xfrm in [0, 1, 2] {
        let error = launch(xfrm);
        let init = matches!(
            error,
            Error::Init(InitError::Attribute { field: "XFRM", .. })
        );
        assert!(init, "{xfrm}: {error}");
    }
    // Bit 62 is a component of no processor that runs this.
    let error = launch(3 | 1 << 62);
    assert!(matches!(error, Error::Xfrm { .. }), "{error}");
}

#[test]
fn a_device_without_a_platform_is_refused() {
    assert!(matches!(Device::builder().build(), Err(Error::NoPlatform)));
}

/// An enclave and its SIGSTRUCT as Fortanix's `sgxs-sign` wrote it: see `fixtures/ORIGIN.md`.
const ENCLAVE: &[u8] = include_bytes!("../fixtures/sgxs-sign/enclave.sgxs");
const SIGNED: &[u8] = include_bytes!("../fixtures/sgxs-sign/enclave.sig");

#[test]
fn the_enclavehash_of_sgxs_sign_is_what_is_measured_and_what_the_report_shows() {
    let sig = sgx_isa::Sigstruct::try_copy_from(SIGNED).unwrap();
    let file: [u8; 32] = Sha256::digest(ENCLAVE).into();
    assert_eq!(sig.enclavehash, file, "sha256sum of the file");
    let measured = softsgx::Image::read(&mut &ENCLAVE[..]).unwrap();
    assert_eq!(sig.enclavehash, measured.mr_enclave());
    let attributes = Attributes { flags: 4, xfrm: 3 };
    let mapping = device()
        .launch(&mut &ENCLAVE[..], &sig, attributes, 0)
        .unwrap();
    let enclave = Enclave(Arc::new(mapping));
    let report = enclave.report(&enclave.identity().target_info(), &[0; 64]);
    assert_eq!(report[64..96], sig.enclavehash, "MRENCLAVE in the REPORT");
    assert_eq!(report[128..160], Key::number(1).signer(), "MRSIGNER");
}
