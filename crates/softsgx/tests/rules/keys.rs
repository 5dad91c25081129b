//! EGETKEY and EREPORT.

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};
use softsgx::{
    Device, Identity, KeyError, KeyRequest, Platform, ReportError, key_name, key_policy,
};

use crate::build::{Enclave, Options, device, platform};

/// Requests a key under a policy, for the present SVNs, bound to all attributes.
fn seal(policy: u16) -> KeyRequest {
    KeyRequest {
        name: key_name::SEAL,
        policy,
        isv_svn: 3,
        cpu_svn: platform().cpu_svn(),
        attribute_mask: softsgx::Attributes { flags: !0, xfrm: 0 },
        misc_mask: !0,
        ..KeyRequest::default()
    }
}

fn launch(change: impl FnOnce(&mut Options)) -> Enclave {
    let mut options = Options::default();
    change(&mut options);
    options.launch(&device()).unwrap()
}

fn fixed_identity() -> Identity {
    Identity {
        mr_enclave: [1; 32],
        mr_signer: [2; 32],
        product_id: 3,
        svn: 4,
        attributes: softsgx::Attributes {
            flags: 0x85,
            xfrm: 3,
        },
        misc_select: 1,
        config_id: [5; 64],
        config_svn: 6,
        ext_product_id: [7; 16],
        family_id: [8; 16],
    }
}

/// The values come from another program: OpenSSL's CMAC over the same fields in the same order.
#[test]
fn keys_of_a_seed_never_change() {
    let platform = Platform::from_seed([9; 32]);
    let own = fixed_identity();
    let request = |policy| KeyRequest {
        isv_svn: 2,
        cpu_svn: [1; 16],
        key_id: [0x11; 32],
        config_svn: 5,
        ..KeyRequest {
            policy,
            ..seal(policy)
        }
    };
    let key = |policy| hex(&platform.get_key(&own, &request(policy)).unwrap());
    assert_eq!(key(key_policy::MRENCLAVE), KNOWN[0]);
    assert_eq!(key(key_policy::MRSIGNER), KNOWN[1]);
    assert_eq!(key(key_policy::ALL), KNOWN[2]);
    let report_key = platform.report_key_for(&own.target_info(), &[0x22; 32]);
    assert_eq!(hex(&report_key), KNOWN[3]);
}

const KNOWN: [&str; 4] = [
    "957774f30bceeace0c0f7fdfbefd6620",
    "fe0a7a110be605a16fe248d1428c73ea",
    "f8ab0d22ae35fb5143e0d1241f2704dd",
    "66faed47611d89cf90cff1b7817996c8",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_same_build_gets_the_same_key_and_another_build_another() {
    for policy in [
        key_policy::MRENCLAVE,
        key_policy::MRENCLAVE | key_policy::MRSIGNER,
    ] {
        let one = launch(|_| {}).get_key(&seal(policy)).unwrap();
        assert_eq!(launch(|_| {}).get_key(&seal(policy)).unwrap(), one);
        assert_ne!(
            launch(|o| o.version = 2).get_key(&seal(policy)).unwrap(),
            one
        );
    }
}

#[test]
fn an_mrsigner_key_is_shared_by_builds_of_one_signer_and_product_only() {
    let policy = key_policy::MRSIGNER;
    let one = launch(|_| {}).get_key(&seal(policy)).unwrap();
    assert_eq!(
        launch(|o| o.version = 2).get_key(&seal(policy)).unwrap(),
        one
    );
    assert_ne!(launch(|o| o.key = 2).get_key(&seal(policy)).unwrap(), one);
    assert_ne!(
        launch(|o| o.product_id = 8).get_key(&seal(policy)).unwrap(),
        one
    );
}

#[test]
fn a_key_depends_on_key_id_and_policy() {
    let enclave = Enclave::new();
    let one = enclave.get_key(&seal(key_policy::MRENCLAVE)).unwrap();
    let other = KeyRequest {
        key_id: [1; 32],
        ..seal(key_policy::MRENCLAVE)
    };
    assert_ne!(enclave.get_key(&other).unwrap(), one);
    assert_ne!(enclave.get_key(&seal(key_policy::MRSIGNER)).unwrap(), one);
}

#[test]
fn a_debug_launch_never_gets_the_production_key_whatever_the_mask() {
    for flags in [0, !0] {
        let mut request = seal(key_policy::MRENCLAVE);
        request.attribute_mask.flags = flags;
        let production = launch(|_| {}).get_key(&request).unwrap();
        let debug = launch(|o| o.flags |= 2);
        assert!(debug.identity().is_debug());
        assert_eq!(
            debug.identity().mr_enclave,
            launch(|_| {}).identity().mr_enclave
        );
        assert_ne!(debug.get_key(&request).unwrap(), production);
    }
}

#[test]
fn a_higher_svn_opens_what_a_lower_one_sealed_and_never_the_other_way() {
    let old = launch(|o| o.svn = 3);
    let new = launch(|o| (o.svn, o.version) = (4, 2));
    let at = |isv_svn| KeyRequest {
        isv_svn,
        ..seal(key_policy::MRSIGNER)
    };
    assert_eq!(old.get_key(&at(3)).unwrap(), new.get_key(&at(3)).unwrap());
    assert_ne!(new.get_key(&at(4)).unwrap(), new.get_key(&at(3)).unwrap());
    assert_eq!(old.get_key(&at(4)), Err(KeyError::InvalidIsvSvn as u64));
}

#[test]
fn h01_a_microcode_update_keeps_old_keys_and_a_downgrade_refuses_newer_ones() {
    let on = |cpu_svn| {
        let platform = platform().with_cpu_svn(cpu_svn);
        let device = Device::builder().platform(platform).build().unwrap();
        Options::default().launch(&device).unwrap()
    };
    let at = |cpu_svn| KeyRequest {
        cpu_svn,
        ..seal(key_policy::MRENCLAVE)
    };
    let (low, high) = ([2; 16], [3; 16]);
    assert_eq!(
        on(low).get_key(&at(low)).unwrap(),
        on(high).get_key(&at(low)).unwrap()
    );
    assert_ne!(
        on(high).get_key(&at(low)).unwrap(),
        on(high).get_key(&at(high)).unwrap()
    );
    assert_eq!(
        on(low).get_key(&at(high)),
        Err(KeyError::InvalidCpuSvn as u64)
    );
    // One component above is enough, wherever it stands.
    for i in 0..16 {
        let mut one_up = low;
        one_up[i] += 1;
        assert_eq!(
            on(low).get_key(&at(one_up)),
            Err(KeyError::InvalidCpuSvn as u64)
        );
    }
}

#[test]
fn another_machine_has_other_keys() {
    let device = Device::builder()
        .platform(Platform::from_seed([43; 32]))
        .build()
        .unwrap();
    let other = Options::default().launch(&device).unwrap();
    let request = seal(key_policy::MRENCLAVE);
    assert_ne!(other.get_key(&request), Enclave::new().get_key(&request));
}

#[test]
fn keys_of_the_architecture_are_refused_for_lack_of_the_attribute_and_unknown_names_as_such() {
    let enclave = Enclave::new();
    for name in [
        key_name::EINITTOKEN,
        key_name::PROVISION,
        key_name::PROVISION_SEAL,
    ] {
        let request = KeyRequest { name, ..seal(0) };
        assert_eq!(
            enclave.get_key(&request),
            Err(KeyError::InvalidAttribute as u64)
        );
    }
    for name in [5, 6, 255, u16::MAX] {
        let request = KeyRequest { name, ..seal(0) };
        assert_eq!(
            enclave.get_key(&request),
            Err(KeyError::InvalidKeyName as u64)
        );
    }
}

#[test]
fn a_malformed_key_request_is_a_general_protection_fault() {
    let enclave = Enclave::new();
    let good = seal(key_policy::MRENCLAVE).to_bytes();
    assert!(enclave.get_key_raw(&good).is_ok());
    let refused = |at: usize, value: u8| {
        let mut bad = good;
        bad[at] = value;
        let exit = Enclave::new().get_key_raw(&bad).unwrap_err();
        assert!(
            matches!(exit, softsgx::Exit::Faulted { vector: 13, .. }),
            "{at}: {exit:?}"
        );
    };
    // Reserved bytes at 6, 7 and from 78; policy bits without meaning, and those that need KSS.
    for at in [6, 7, 78, 79, 300, 511] {
        refused(at, 1);
    }
    for bit in [
        0x40,
        0x80,
        key_policy::NO_ISVPRODID as u8,
        key_policy::CONFIGID as u8,
    ] {
        refused(2, 1 | bit);
    }
    refused(3, 1);
}

#[test]
fn with_kss_the_further_policies_bind_and_config_ids_separate() {
    let launch = |config_id, version| {
        let device = Device::builder()
            .platform(platform())
            .config([config_id; 64], 2);
        let mut options = Options {
            version,
            ..Options::default()
        };
        options.flags |= 0x80;
        options.launch(&device.build().unwrap()).unwrap()
    };
    let request = KeyRequest {
        config_svn: 1,
        ..seal(key_policy::MRENCLAVE | key_policy::CONFIGID)
    };
    let one = launch(1, 1).get_key(&request).unwrap();
    assert_eq!(launch(1, 1).get_key(&request).unwrap(), one);
    assert_ne!(launch(2, 1).get_key(&request).unwrap(), one);
    let above = KeyRequest {
        config_svn: 3,
        ..request
    };
    assert_eq!(
        launch(1, 1).get_key(&above),
        Err(KeyError::InvalidIsvSvn as u64)
    );
}

/// As an enclave checks a report with the key from EGETKEY: AES-128-CMAC over the first 384 bytes.
fn mac_holds(report: &[u8; 432], key: &[u8; 16]) -> bool {
    let mut mac = <Cmac<Aes128> as KeyInit>::new(&(*key).into());
    mac.update(&report[..384]);
    mac.verify_slice(&report[416..]).is_ok()
}

#[test]
fn a_report_says_who_made_it_and_only_its_target_can_check_it() {
    let (maker, target) = (launch(|_| {}), launch(|o| o.version = 2));
    let report = maker.report(&target.identity().target_info(), &[0x5a; 64]);
    let key_request = |id: &[u8]| KeyRequest {
        name: key_name::REPORT,
        key_id: id.try_into().unwrap(),
        ..KeyRequest::default()
    };
    let body = platform()
        .verify_report(&report, &target.identity().target_info())
        .unwrap();
    assert_eq!(body.identity, maker.identity());
    assert_eq!(body.report_data, [0x5a; 64]);
    // The key that the target gets from EGETKEY is the one that the host-side check uses.
    let key = target.get_key(&key_request(&report[384..416])).unwrap();
    let id: [u8; 32] = report[384..416].try_into().unwrap();
    assert_eq!(
        key,
        platform().report_key_for(&target.identity().target_info(), &id)
    );
    assert!(mac_holds(&report, &key));
    // The maker itself, and a debug launch of the target, get other keys.
    for other in [maker, launch(|o| (o.version, o.flags) = (2, 6))] {
        let key = other.get_key(&key_request(&report[384..416])).unwrap();
        assert!(!mac_holds(&report, &key));
        let other = other.identity().target_info();
        assert_eq!(
            platform().verify_report(&report, &other),
            Err(ReportError::Mac)
        );
    }
}

#[test]
fn a_report_with_any_bit_changed_is_refused() {
    let enclave = Enclave::new();
    let target = enclave.identity().target_info();
    let report = enclave.report(&target, &[1; 64]);
    assert!(platform().verify_report(&report, &target).is_ok());
    for bit in 0..report.len() * 8 {
        let mut bad = report;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            platform().verify_report(&bad, &target),
            Err(ReportError::Mac),
            "bit {bit}"
        );
    }
    for len in [0, 431] {
        let got = platform().verify_report(&report[..len], &target);
        assert_eq!(got, Err(ReportError::Length { got: len }));
    }
    let other_machine = Platform::from_seed([43; 32]);
    assert_eq!(
        other_machine.verify_report(&report, &target),
        Err(ReportError::Mac)
    );
    let after_update = platform().with_cpu_svn([3; 16]);
    assert_eq!(
        after_update.verify_report(&report, &target),
        Err(ReportError::Mac)
    );
}

#[test]
fn a_platform_file_is_made_once_and_read_again_and_nothing_else_is_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("machine");
    let key = |p: &Platform| p.report_key_for(&fixed_identity().target_info(), &[0; 32]);
    let made = Platform::open_or_create(&path).unwrap();
    assert_eq!(key(&Platform::open_or_create(&path).unwrap()), key(&made));
    let other = Platform::open_or_create(dir.path().join("other")).unwrap();
    assert_ne!(key(&other), key(&made));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no half-made file stays"
    );
    let text = std::fs::read_to_string(&path).unwrap();
    for bad in [
        "".to_owned(),
        text[..40].to_owned(),
        text.replace("1\n", "2\n"),
        format!("{text}x\n"),
    ] {
        std::fs::write(&path, &bad).unwrap();
        let error = Platform::open_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("not a softsgx platform"), "{error}");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            bad,
            "a file is never replaced"
        );
    }
}
