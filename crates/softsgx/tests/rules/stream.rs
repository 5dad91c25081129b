//! ECREATE, EADD, EEXTEND: what is measured, and which streams build nothing.

use sha2::{Digest, Sha256};
use softsgx::{Image, StreamError};

use crate::build::{
    CODE, DATA, Options, RW, RX, SIZE, STACK, Stream, TCS, TCS_FLAGS, device, header,
    reference_measurement, stream, tcs,
};

fn read(stream: &Stream) -> Result<[u8; 32], StreamError> {
    Image::read(&mut &stream.bytes()[..]).map(|i| i.mr_enclave())
}

#[test]
fn the_measurement_is_the_one_that_other_implementations_compute() {
    let bytes = stream(1).bytes();
    let image = Image::read(&mut &bytes[..]).unwrap();
    assert_eq!(image.mr_enclave(), reference_measurement(&bytes).hash());
    // A stream without unmeasured records is what is hashed.
    assert_eq!(image.mr_enclave(), <[u8; 32]>::from(Sha256::digest(&bytes)));
    assert_eq!(image.size(), SIZE);
    assert_eq!(image.threads(), 2);
}

#[test]
fn a_stream_that_is_cut_off_anywhere_does_not_launch() {
    let bytes = stream(1).bytes();
    let options = Options::default();
    let sig = options.sigstruct(&bytes);
    let mut cuts: Vec<usize> = (0..bytes.len()).step_by(97).collect();
    cuts.extend([0, 1, 63, 64, 128, bytes.len() - 320, bytes.len() - 1]);
    for cut in cuts {
        let got = device().launch(&mut &bytes[..cut], &sig, options.attributes(), 0);
        assert!(got.is_err(), "cut at {cut}");
    }
    assert!(
        device()
            .launch(&mut &bytes[..], &sig, options.attributes(), 0)
            .is_ok()
    );
}

#[test]
fn a_stream_cut_inside_a_record_says_so() {
    let mut stream = stream(1);
    stream.0.last_mut().unwrap().truncate(100);
    let text = read(&stream).unwrap_err().to_string();
    assert!(text.contains("cut off"), "{text}");
}

#[test]
fn every_measured_byte_counts() {
    let good = stream(1);
    let expected = read(&good).unwrap();
    for (i, record) in good.0.iter().enumerate() {
        // One byte of each chunk; records without one are the headers, whose values are checked below.
        if record.len() > 64 && i % 7 == 0 {
            let mut changed = good.clone();
            changed.0[i][64] ^= 1;
            assert_ne!(read(&changed).ok(), Some(expected), "record {i}");
        }
    }
    let mut rights = good.clone();
    let data = rights
        .0
        .iter()
        .position(|r| *r == header(b"EADD\0\0\0\0", DATA, RW))
        .unwrap();
    rights.0[data] = header(b"EADD\0\0\0\0", DATA, RX);
    assert_ne!(read(&rights).unwrap(), expected);
}

#[test]
fn pages_and_chunks_out_of_order_or_twice_are_refused() {
    let pages = |order: &[u64]| {
        let mut s = Stream::create(SIZE, 1);
        for offset in order {
            s.page(*offset, RW, &[]);
        }
        read(&s)
    };
    assert!(pages(&[CODE, DATA]).is_ok());
    assert!(matches!(
        pages(&[DATA, CODE]),
        Err(StreamError::Value { .. })
    ));
    assert!(matches!(
        pages(&[CODE, CODE]),
        Err(StreamError::Value { .. })
    ));
    let mut chunks = Stream::create(SIZE, 1);
    chunks.page(CODE, RW, &[]);
    chunks.0.swap(3, 4);
    assert!(matches!(read(&chunks), Err(StreamError::Value { .. })));
    let mut twice = Stream::create(SIZE, 1);
    twice.page(CODE, RW, &[]);
    twice.0[4] = twice.0[3].clone();
    assert!(matches!(read(&twice), Err(StreamError::Value { .. })));
}

#[test]
fn a_stream_without_ecreate_first_and_once_is_refused() {
    let good = stream(1);
    let without = Stream(good.0[1..].to_vec());
    assert!(matches!(read(&without), Err(StreamError::Order { .. })));
    let mut second = good.clone();
    second.0.push(good.0[0].clone());
    assert!(matches!(read(&second), Err(StreamError::Order { .. })));
    let mut unsized_ = good.clone();
    unsized_.0[0][..8].copy_from_slice(b"UNSIZED\0");
    assert!(matches!(read(&unsized_), Err(StreamError::Order { .. })));
    assert!(matches!(
        read(&Stream::default()),
        Err(StreamError::Order { .. })
    ));
    let mut unknown = good;
    unknown.0.push(header(b"EINIT\0\0\0", 0, 0));
    assert!(matches!(read(&unknown), Err(StreamError::Read { .. })));
}

#[test]
fn sizes_that_the_architecture_does_not_have_are_refused() {
    for size in [
        0,
        1,
        4096,
        SIZE - 4096,
        SIZE + 1,
        1 << 47,
        1 << 63,
        u64::MAX,
    ] {
        assert!(read(&Stream::create(size, 1)).is_err(), "{size:#x}");
    }
    for pages in [0, u32::MAX] {
        assert!(read(&Stream::create(SIZE, pages)).is_err(), "{pages}");
    }
}

#[test]
fn pages_with_wrong_places_types_or_rights_are_refused() {
    let page = |offset, flags| {
        let mut s = Stream::create(SIZE, 1);
        s.page(offset, flags, &[]);
        read(&s)
    };
    for offset in [1, 0x1800, SIZE, u64::MAX - 4095] {
        let mut s = Stream::create(SIZE, 1);
        s.0.push(header(b"EADD\0\0\0\0", offset, RW));
        assert!(read(&s).is_err(), "{offset:#x}");
    }
    // Writable but not readable, SECS, VA, TRIM, pending, a TCS with rights, a bit without meaning.
    for flags in [
        0x202,
        0x204,
        0x003,
        0x303,
        0x403,
        0x20b,
        0x103,
        1 << 32 | 0x203,
    ] {
        assert!(page(CODE, flags).is_err(), "{flags:#x}");
    }
}

#[test]
fn a_tcs_that_eadd_or_eenter_refuses_is_refused_by_name() {
    let with = |at: usize, value: u8| {
        let mut t = tcs(TCS[0], 2);
        t[at] = value;
        let mut s = Stream::create(SIZE, 1);
        s.page(TCS[0], TCS_FLAGS, &t);
        read(&s)
    };
    assert!(with(0, 0).is_ok());
    let cases = [
        (0, 1),
        (8, 2),
        (16, 1),
        (24, 1),
        (34, 0xff),
        (40, 1),
        (48, 1),
        (56, 1),
        (64, 0),
        (68, 0),
    ];
    for (at, value) in cases {
        let got = with(at, value);
        assert!(
            matches!(got, Err(StreamError::Tcs { .. })),
            "byte {at}: {got:?}"
        );
    }
    // NSSA that reaches out of the enclave.
    assert!(matches!(
        with(30, 1),
        Err(StreamError::Tcs { field: "OSSA", .. })
    ));
}

#[test]
fn unmeasured_chunks_are_loaded_and_do_not_count() {
    let mut s = Stream::create(SIZE, 1);
    s.page(STACK, RW, &[]);
    let expected = read(&s).unwrap();
    let mut unmeasured = s.clone();
    unmeasured.0[5][..8].copy_from_slice(b"UNMEASRD");
    assert_ne!(read(&unmeasured).unwrap(), expected);
    let one = read(&unmeasured).unwrap();
    unmeasured.0[5][64..].fill(7);
    assert_eq!(read(&unmeasured).unwrap(), one);
}
