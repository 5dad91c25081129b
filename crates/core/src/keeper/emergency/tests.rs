use std::string::String;
use std::vec::Vec;

use baton_attest::identity::encode;

use super::*;
use crate::log::{LogEntry, LogFacts};

fn emergency(kind: OrderKind, sequence: u64, order: u8, head: u64) -> Emergency {
    Emergency { kind, sequence, order: Digest32([order; 32]), head }
}

fn sample() -> Emergencies {
    Emergencies {
        obeyed: Vec::from([emergency(OrderKind::Handover, 3, 1, 90)]),
        inherited: Vec::from([emergency(OrderKind::Rewind, 2, 2, 50)]),
        frozen: Vec::from([Frozen { measurement: Measurement([3; 32]), proposals_through: 7, sequence: 4 }]),
        dated: Some(1_790_000_000),
    }
}

#[test]
fn h08_what_is_sealed_of_emergencies_is_frozen_and_read_back() {
    let golden = include_str!("../../../tests/golden/emergencies_v1.hex").trim();
    assert_eq!(hex::encode(encode(&sample())), golden);
    assert_eq!(decode_exact::<Emergencies>(&hex::decode(golden).unwrap()), Some(sample()));
    assert!(!sample().is_empty() && Emergencies::default().is_empty());
}

#[test]
fn h04_log_entries_of_emergencies_are_frozen_and_read_back() {
    let order = |order_kind, sequence, public_block, first, second| Event::EmergencyOrder {
        order_kind,
        sequence,
        by: "council".into(),
        reason: "why".into(),
        public_block,
        public_first_secs: first,
        public_second_secs: second,
    };
    let events = [
        order(OrderKind::Handover, 3, Some(90), None, None),
        order(OrderKind::Freeze, 4, None, Some(1_790_000_000), Some(1_790_003_600)),
        Event::Rewound { from_height: 90, to_height: 80, to_hash: Digest32([9; 32]) },
        Event::Escrowed { council_key: Digest32([10; 32]), lifeboat_key: Digest32([11; 32]) },
    ];
    let entries: Vec<LogEntry> =
        events.into_iter().zip(0..).map(|(event, seq)| LogEntry { seq, facts: LogFacts::default(), event }).collect();
    let lines: String = entries.iter().map(|e| hex::encode(e.to_bytes()) + "\n").collect();
    assert_eq!(lines, include_str!("../../../tests/golden/log_entries_emergency_v1.hex"));
    for entry in entries {
        assert_eq!(LogEntry::parse(&entry.to_bytes()), Ok(entry));
    }
}

#[test]
fn a_transfer_carries_the_newest_emergencies_and_no_more_than_a_bound() {
    let mut e = sample();
    assert_eq!(e.to_carry().unwrap().iter().map(|e| e.sequence).collect::<Vec<_>>(), [2, 3]);
    e.obeyed = (0..1000).map(|n| emergency(OrderKind::Rotate, n, 1, n)).collect();
    let carried = e.to_carry().unwrap();
    assert_eq!((carried.len(), carried.last().unwrap().sequence), (MAX_CARRIED, 999));
    let mut next = Emergencies::default();
    assert_eq!(next.to_carry(), None);
    next.inherit(&e.obeyed);
    assert_eq!(next.inherited().len(), MAX_CARRIED, "a giver that carries more is cut");
}
