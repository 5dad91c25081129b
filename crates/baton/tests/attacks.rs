//! Every attack of the hazards' list, as a test: a hostile host against real enclaves on a running chain.
//!
//! Each attempt must be refused by the very check that guards against it; `scripts/attacks-bite` shows that
//! without that check the attempt works. The attempts are printed as JSON, one a line, for that script.
//!
//! They run on `sim`; where BATON_SGX_PROGRAM names a program that scripts/sgx-build made (and
//! BATON_SGX_PROGRAM_2 one for v2), on a software SGX CPU.

use baton::attacks::{ATTACKS, attempt};
use baton::world::Platform;

fn platform() -> Platform {
    let named = |name: &str| std::env::var_os(name).map(Into::into);
    let programs: Vec<_> = ["BATON_SGX_PROGRAM", "BATON_SGX_PROGRAM_2"].into_iter().filter_map(named).collect();
    if programs.is_empty() { Platform::Sim } else { Platform::soft_sgx(&programs).expect("programs") }
}

fn all_refused(id: &str) {
    let attack = ATTACKS.iter().find(|a| a.id == id).expect("an attack of the list");
    let lines = attempt(attack, 1, &platform());
    assert!(!lines.is_empty(), "nothing was tried");
    for line in &lines {
        println!("attempt {}", serde_json::to_string(line).expect("JSON"));
    }
    let bad: Vec<_> = lines.iter().filter(|l| !l.verdict.is_good()).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

macro_rules! attacks {
    ($($name:ident $id:literal;)*) => {
        $(
            #[test]
            fn $name() {
                all_refused($id);
            }
        )*

        #[test]
        fn every_attack_of_the_list_is_a_test() {
            let tested = [$($id),*];
            let listed: Vec<&str> = ATTACKS.iter().map(|a| a.id).collect();
            assert_eq!(tested.as_slice(), listed.as_slice());
        }
    };
}

attacks! {
    a01_a_build_nobody_voted_for_is_refused "A01";
    a02_a_transaction_that_only_names_the_build_is_refused "A02";
    a03_a_vote_that_is_not_won_or_no_longer_counts_is_refused "A03";
    a04_the_voted_measurement_launched_or_signed_otherwise_is_refused "A04";
    a05_exactly_two_thirds_is_refused "A05";
    a06_an_order_counts_once_here_and_now "A06";
    a07_malformed_signatures_stop_no_order_and_make_none "A07";
    a08_bytes_of_another_type_are_refused "A08";
    a09_a_forged_exporter_is_refused "A09";
    a10_an_old_sealed_file_revives_nothing "A10";
    a11_an_old_view_of_the_chain_is_refused "A11";
    a12a_a_fork_beyond_the_trusting_period_is_refused "A12a";
    a12b_a_fork_within_the_trusting_period_is_shown_for_what_it_is "A12b";
    a13_the_host_has_no_say_in_time "A13";
    a14_two_old_enclaves_give_no_more_than_one "A14";
    a15_a_receipt_that_proves_nothing_is_refused "A15";
    a16_one_machine_counts_once_at_the_barrier "A16";
    a17_a_machine_that_is_not_to_be_trusted_is_refused "A17";
    a18_a_replay_to_a_second_target_is_refused "A18";
    a19_shares_count_once_for_what_they_were_given_for "A19";
    a20_weaker_bars_on_chain_change_nothing "A20";
    a21_malformed_bytes_are_refused_and_change_nothing "A21";
    a22_development_and_production_never_mix "A22";
    a23_a_superseded_plan_with_its_done_key_is_refused "A23";
    a24_info_that_reads_two_ways_is_refused "A24";
    a25_no_emergency_is_quiet "A25";
    a26_a_rewind_introduces_no_header "A26";
    a27_a_kept_legacy_file_is_shown_for_what_it_is "A27";
    a28_a_new_build_serves_nothing_before_its_proof_at_x "A28";
    a29_a_forged_quote_on_a_machine_that_nobody_answers_for_opens_no_door "A29";
}
