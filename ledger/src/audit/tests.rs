mod bad_input;

use super::*;
use crate::coordinate::PackageType;
use crate::digest::Sha256Digest;
use crate::event::{NodeAuthorizationApproved, VerifierApproved};
use crate::identity::NodeId;
use crate::projection::SNAPSHOT_SCHEMA;
use crate::projection::tests::{Bench, built};
use crate::signed::{Signature, SignedEvent, UnsignedEvent};
use proptest::prelude::*;

fn raw(log: &[SealedBlock]) -> Vec<Vec<u8>> {
    log.iter().map(SealedBlock::encode).collect()
}

/// Audits rows of (position, bytes), with the work verified in reverse to show that its order does not matter.
fn audit_rows<'a>(rows: impl IntoIterator<Item = (u64, &'a [u8])>) -> AuditReport {
    let (mut audit, mut work) = (Audit::new(None), vec![]);
    for (position, raw) in rows {
        audit.feed(Height(position), raw);
        work.extend(audit.take_work());
    }
    let reports: Vec<SignatureReport> = work.iter().rev().map(SignatureWork::verify).collect();
    audit.finish(reports)
}

fn audit(log: &[Vec<u8>]) -> AuditReport {
    audit_rows((0..).zip(log.iter().map(Vec::as_slice)))
}

fn kinds(report: &AuditReport) -> Vec<(u64, FindingKind)> {
    let mut kinds: Vec<_> = report.findings.iter().map(|finding| (finding.height.0, finding.what)).collect();
    kinds.dedup();
    kinds
}

/// A log with a published build and a disputed one.
fn bench() -> Bench {
    let mut bench = Bench::with_members(3);
    let build_id = bench.open_build(0);
    bench.judge(build_id, &[(0, built(b"image")), (1, built(b"image")), (2, built(b"image"))]);
    for event in bench.additions(build_id) {
        bench.commit(1, event);
    }
    let again = bench.open_build(2);
    bench.judge(again, &[(0, built(b"one")), (1, built(b"two")), (2, built(b"three"))]);
    bench
}

#[test]
fn a_sound_log_is_clean_and_the_summary_counts_everything() {
    let bench = bench();
    let report = audit(&raw(&bench.log));
    assert_eq!(report.findings, []);
    assert!(report.clean);
    let signatures: usize = bench.log.iter().map(|sealed| sealed.block.events.len() + sealed.certificate.signatures.len()).sum();
    let summary = report.summary;
    assert_eq!((summary.blocks, summary.events), (bench.log.len() as u64, bench.state.tree_size()));
    assert_eq!(summary.signatures, signatures as u64);
    assert_eq!((summary.tip, summary.state_root), (Some(bench.state.tip()), Some(bench.state.state_root())));
    assert_eq!((summary.from, summary.to, summary.followed_to), (Some(Height(0)), Some(bench.state.height()), summary.to));
    assert_eq!(summary.network, Some(*bench.state.network()));
}

#[test]
fn every_wrong_is_named_by_kind_and_the_blocks_behind_it_are_still_checked() {
    let bench = bench();
    let is_addition = |sealed: &SealedBlock| matches!(sealed.block.events[0].event(), Event::AddArtifact(_));
    let at = bench.log.iter().rposition(is_addition).expect("an artifact was added");
    let end = bench.log.len() as u64 - 1;
    let height = at as u64;
    let check = |change: &dyn Fn(&mut SealedBlock), expected: &[FindingKind]| {
        let mut log = bench.log.clone();
        change(&mut log[at]);
        // Every time there is a second wrong, far behind the first: it must be found as well.
        log[end as usize].certificate.signatures[0].1 = Signature::from_bytes([3; 64]);
        let report = audit(&raw(&log));
        let found = kinds(&report);
        let here: Vec<FindingKind> = found.iter().filter(|(h, _)| *h == height).map(|(_, what)| *what).collect();
        assert_eq!(here, expected, "{:#?}", report.findings);
        assert!(found.contains(&(end, FindingKind::Signature)), "{:#?}", report.findings);
    };
    use FindingKind::{Certificate, Chain, Network, Rule, Signature as Wrong, StateRoot, Tree};
    check(&|b| b.block.header.parent = BlockHash::NONE, &[Chain, Certificate]);
    check(&|b| b.block.header.time_ms = 1, &[Chain, StateRoot, Certificate, Wrong]);
    check(&|b| b.block.header.height = Height(99), &[Chain, Certificate]);
    check(&|b| b.block.header.network = NetworkId::UNFOUNDED, &[Network, Certificate]);
    check(&|b| b.block.header.tree_root = Sha256Digest::of(b""), &[Tree, Certificate, Wrong]);
    check(&|b| b.block.header.state_root = Sha256Digest::of(b""), &[StateRoot, Certificate]);
    check(&|b| b.block.events[0].signature = Signature::from_bytes([1; 64]), &[Tree, Wrong]);
    check(&|b| b.block.events[0].unsigned.claimed_time_ms += 1, &[Tree, StateRoot, Wrong]);
    check(&|b| b.block.events.clear(), &[Tree, StateRoot]);
    check(&|b| b.block.events[0].unsigned.sequence += 1, &[Rule, Tree, StateRoot, Wrong]);
    check(&|b| b.certificate.signatures.truncate(1), &[Certificate]);
    check(&|b| b.certificate.signatures.swap(0, 1), &[Certificate]);
    check(&|b| b.certificate.round = 1, &[Wrong]);
    check(&|b| b.certificate.signatures[0].1 = b.certificate.signatures[1].1, &[Wrong]);
}

#[test]
fn an_event_that_no_rule_allows_is_named_by_its_id() {
    let bench = bench();
    let mut log = bench.log.clone();
    let stranger = Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: bench.node(8) });
    let forged = SignedEvent::new(&bench.keys[7], UnsignedEvent::new(*bench.state.network(), bench.node(7), 0, 1, stranger));
    let at = log.len() - 2;
    log[at].block.events.push(forged.clone());
    let report = audit(&raw(&log));
    let finding = report.findings.iter().find(|finding| finding.what == FindingKind::Rule).expect("a refused event");
    assert_eq!((finding.height, finding.event), (Height(at as u64), Some(forged.id())));
    assert!(finding.sentence.contains("is not an authorized node"), "{}", finding.sentence);
}

#[test]
fn a_missing_block_is_said_once_and_the_chain_behind_it_is_checked_all_the_same() {
    let bench = bench();
    let (raw, gone) = (raw(&bench.log), bench.log.len() as u64 - 4);
    let rows = || (0..).zip(raw.iter().map(Vec::as_slice)).filter(|(position, _)| *position != gone);
    let report = audit_rows(rows());
    assert_eq!(kinds(&report), [(gone, FindingKind::Missing), (gone, FindingKind::Unfollowed)]);
    assert_eq!(report.summary.followed_to, Some(Height(gone - 1)));
    let mut changed = bench.log[gone as usize + 2].clone();
    changed.certificate.signatures.truncate(1);
    let changed = changed.encode();
    let report =
        audit_rows(rows().map(|(position, raw)| (position, if position == gone + 2 { changed.as_slice() } else { raw })));
    assert!(kinds(&report).contains(&(gone + 2, FindingKind::Certificate)), "the set is known: the headers still name it");
}

#[test]
fn behind_a_hole_equal_times_are_no_break_of_the_chain_and_going_back_is_one() {
    let bench = bench();
    let (gone, last) = (bench.log.len() - 4, bench.log.len() - 1);
    let breaks = |time_ms_of_last: u64| {
        let mut log = bench.log.clone();
        for sealed in &mut log[gone + 1..] {
            sealed.block.header.time_ms = 9_000;
        }
        log[last].block.header.time_ms = time_ms_of_last;
        let raw = raw(&log);
        let report = audit_rows((0..).zip(raw.iter().map(Vec::as_slice)).filter(|(position, _)| *position != gone as u64));
        report.findings.iter().filter(|finding| finding.sentence.contains("the time is before")).count()
    };
    assert_eq!((breaks(9_000), breaks(9_001), breaks(8_999)), (0, 0, 1));
}

#[test]
fn a_log_of_another_network_and_one_that_lost_its_end_are_found() {
    let bench = bench();
    let raw = raw(&bench.log);
    let pinned = NetworkId::new(Sha256Digest::of(b"mine"));
    let mut audit = Audit::new(Some(pinned));
    let announced = |height, block| Announced { height: Height(height), block, exactness: Exactness::AtLeast };
    audit.announce(announced(3, BlockHash::NONE));
    for (position, raw) in raw.iter().enumerate() {
        audit.feed(Height(position as u64), raw);
    }
    audit.announce(announced(99, bench.state.tip()));
    let found = kinds(&audit.finish([]));
    assert_eq!(found, [(0, FindingKind::Network), (3, FindingKind::Tip), (99, FindingKind::Tip)]);
    assert_eq!(kinds(&audit_rows([])), [(0, FindingKind::Missing)]);
}

#[test]
fn work_that_nobody_verified_is_no_clean_audit() {
    let mut bench = Bench::with_members(3);
    let mut audit = Audit::new(None);
    let mut taken = None;
    for round in 0u64.. {
        let Some(sealed) = bench.log.get(round as usize) else {
            bench.commit(
                0,
                Event::VerifierApproved(VerifierApproved {
                    package_type: PackageType::new("docker").expect("a type"),
                    module: Sha256Digest::of(&round.to_le_bytes()),
                    contract_version: 1,
                }),
            );
            audit.feed(Height(round), &bench.log[round as usize].encode());
            taken = audit.take_work();
            if taken.is_some() {
                break;
            }
            continue;
        };
        audit.feed(Height(round), &sealed.encode());
    }
    assert!(taken.expect("enough signatures for a batch").len() >= SIGNATURES_PER_WORK);
    let report = audit.finish([]);
    assert_eq!(kinds(&report), [(0, FindingKind::Signature)]);
}

fn at_rest(audit: &mut Audit) -> Vec<u8> {
    let report = audit.take_rest().verify();
    audit.absorb(report);
    let mut bytes = vec![];
    audit.write_rest(&mut bytes).expect("memory takes it");
    bytes
}

#[test]
fn an_audit_that_rests_at_any_block_comes_to_the_same_report() {
    let bench = bench();
    let mut log = raw(&bench.log);
    for damage in [None, Some(2)] {
        if let Some(block) = damage {
            // A signature of its certificate: found, and no reason to lose the state.
            let mut sealed = bench.log[block].clone();
            sealed.certificate.signatures[0].1 = Signature::from_bytes([7; 64]);
            log[block] = sealed.encode();
        }
        let whole = audit(&log);
        assert_eq!(whole.clean, damage.is_none());
        for rest in 0..log.len() {
            let mut first = Audit::new(None);
            for (position, raw) in log[..=rest].iter().enumerate() {
                first.feed(Height(position as u64), raw);
            }
            assert_eq!(first.rests_at().is_some(), rest == 0, "signatures wait at block {rest}");
            let bytes = at_rest(&mut first);
            assert_eq!(first.rests_at(), Some(Height(rest as u64)));
            let mut second = Audit::resume(&mut bytes.as_slice(), None).expect("it is whole");
            second.confirm(&log[0], &log[rest]).expect("it is the same block");
            for (position, raw) in log.iter().enumerate().skip(rest + 1) {
                second.feed(Height(position as u64), raw);
            }
            let mut report = second.finish([]);
            assert_eq!(report.summary.resumed_after.take(), Some(Height(rest as u64)));
            assert_eq!(report, whole);
        }
    }
}

#[test]
fn an_audit_at_rest_is_taken_up_only_whole_for_the_same_ledger_and_the_same_pin() {
    let bench = bench();
    let log = raw(&bench.log);
    let mut audit = Audit::new(None);
    for (position, raw) in log[..4].iter().enumerate() {
        audit.feed(Height(position as u64), raw);
    }
    let bytes = at_rest(&mut audit);
    let resumed = Audit::resume(&mut bytes.as_slice(), None).expect("it is whole");
    assert!(matches!(resumed.confirm(&log[0], &log[4]), Err(ResumeError::OtherBlock(Height(3)))));
    let other = NetworkId::new(Sha256Digest::of(b"other"));
    assert!(matches!(Audit::resume(&mut bytes.as_slice(), Some(other)), Err(ResumeError::Pin { .. })));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Audit::resume(&mut changed.as_slice(), None).is_err(), "byte {at}");
        if at % 7 == 0 {
            assert!(Audit::resume(&mut &bytes[..at], None).is_err(), "cut off at {at}");
        }
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(Audit::resume(&mut longer.as_slice(), None), Err(ResumeError::Damaged)));
}

/// An audit of the first blocks, at rest.
fn rested(log: &[Vec<u8>], pinned: Option<NetworkId>) -> Vec<u8> {
    let mut audit = Audit::new(pinned);
    for (position, raw) in (0..).zip(log) {
        audit.feed(Height(position), raw);
    }
    at_rest(&mut audit)
}

/// What whoever can write the file makes of it: other bytes in the one place where `old` stands, and the check sum over them.
fn forged(rested: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..=rested.len() - old.len()).filter(|at| rested[*at..].starts_with(old)).collect();
    let [at] = places[..] else { panic!("it stands in {} places", places.len()) };
    let changed = [&rested[..at], new, &rested[at + old.len()..rested.len() - 32]].concat();
    let check_sum = Sha256Digest::of(&changed);
    [changed.as_slice(), check_sum.as_bytes()].concat()
}

#[test]
fn a_file_does_not_pass_a_log_for_that_of_the_pinned_network() {
    let log = raw(&bench().log);
    let other = NetworkId::new(Sha256Digest::of(b"other"));
    let unpinned = rested(&log[..4], None);
    let start = |found_bytes: usize, pinned: Option<NetworkId>| {
        [&SNAPSHOT_SCHEMA.to_le_bytes()[..], &(found_bytes as u64).to_le_bytes(), &borsh::to_vec(&pinned).expect("encodes")]
            .concat()
    };
    let found_bytes = (0..unpinned.len()).find(|bytes| unpinned[17..].starts_with(&start(*bytes, None))).expect("no pin");
    let pinned = forged(&unpinned, &start(found_bytes, None), &start(found_bytes + 32, Some(other)));
    assert!(matches!(Audit::resume(&mut pinned.as_slice(), Some(other)), Err(ResumeError::Pin { .. })));
    // Whoever pins another network than that of the log is told so by every run.
    let resumed = Audit::resume(&mut rested(&log[..4], Some(other)).as_slice(), Some(other)).expect("it is whole");
    assert_eq!(kinds(&resumed.finish([])), [(0, FindingKind::Network)]);
}

#[test]
fn a_file_that_says_otherwise_than_the_founding_block_or_the_block_it_rests_at_is_refused() {
    let bench = bench();
    let log = raw(&bench.log);
    let rested = rested(&log[..4], None);
    let (network, name) = (*bench.state.network(), bench.state.name().to_owned());
    let state = Projections::from_genesis(&bench.log[0]).expect("founded");
    let founded = |name: &str, founder: NodeId| borsh::to_vec(&(network, name, founder, Height(3))).expect("encodes");
    let founded_as = founded(&name, state.founder());
    let header = &bench.log[3].block.header;
    let at = |time_ms: u64| borsh::to_vec(&(Height(3), header.hash(), time_ms)).expect("encodes");
    let confirm = |bytes: &[u8]| Audit::resume(&mut &*bytes, None).expect("it is whole").confirm(&log[0], &log[3]);
    assert!(confirm(&rested).is_ok());
    let other_founder = forged(&rested, &founded_as, &founded(&name, bench.node(1)));
    assert!(matches!(confirm(&other_founder), Err(ResumeError::OtherFounding)));
    let other_name = forged(&rested, &founded_as, &founded("else", state.founder()));
    assert!(matches!(confirm(&other_name), Err(ResumeError::OtherFounding)));
    let other_time = forged(&rested, &at(header.time_ms), &at(header.time_ms - 1));
    assert!(matches!(confirm(&other_time), Err(ResumeError::OtherBlock(Height(3)))));
    let resumed = Audit::resume(&mut rested.as_slice(), None).expect("it is whole");
    assert!(matches!(resumed.confirm(&log[1], &log[3]), Err(ResumeError::OtherFounding)));
}

#[test]
fn a_file_whose_findings_are_not_as_many_as_it_counts_is_refused() {
    let mut log = raw(&bench().log);
    let mut sealed = SealedBlock::decode(&log[2]).expect("a block");
    sealed.certificate.signatures[0].1 = Signature::from_bytes([7; 64]);
    log[2] = sealed.encode();
    let rested = rested(&log[..4], None);
    let mut resumed = Audit::resume(&mut rested.as_slice(), None).expect("it is whole");
    resumed.findings_total = 0;
    let uncounted = at_rest(&mut resumed);
    assert!(matches!(Audit::resume(&mut uncounted.as_slice(), None), Err(ResumeError::Damaged)));
}

#[test]
fn faults_of_the_files_are_found_by_the_runs_that_meet_them_and_not_written_down() {
    let log = raw(&bench().log);
    let mut audit = Audit::new(None);
    audit.feed(Height(0), &log[0]);
    audit.storage(Height(0), "the tip file cannot be read");
    let bytes = at_rest(&mut audit);
    assert_eq!(kinds(&audit.finish([])), [(0, FindingKind::Storage)]);
    let mended = Audit::resume(&mut bytes.as_slice(), None).expect("it is whole").finish([]);
    assert!(mended.clean, "{:#?}", mended.findings);
}

#[test]
fn of_very_many_findings_the_first_are_kept_whenever_they_come() {
    let log = raw(&bench().log);
    let mut audit = Audit::new(None);
    audit.feed(Height(0), &log[0]);
    let wrong = |height: usize| Finding::new(Height(height as u64), FindingKind::Signature, "wrong");
    let batches = 5;
    for batch in (0..batches).rev() {
        let heights = batch * (FINDINGS_MAX / 2)..(batch + 1) * (FINDINGS_MAX / 2);
        audit.absorb(SignatureReport { verified: 0, findings: heights.map(wrong).collect() });
        assert!(audit.findings.len() < 2 * FINDINGS_MAX);
    }
    let bytes = at_rest(&mut audit);
    let resumed = Audit::resume(&mut bytes.as_slice(), None).expect("it is whole");
    assert_eq!(resumed.findings.len(), FINDINGS_MAX);
    let report = resumed.finish([]);
    assert_eq!(report.findings_total, (batches * (FINDINGS_MAX / 2)) as u64);
    assert_eq!(report.findings, (0..FINDINGS_MAX).map(wrong).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// No byte of a log can be changed without a finding.
    #[test]
    fn any_changed_byte_of_a_log_is_found(block in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        thread_local!(static LOG: Vec<Vec<u8>> = raw(&bench().log));
        let mut log = LOG.with(Clone::clone);
        let block = block.index(log.len());
        let at = at.index(log[block].len());
        log[block][at] ^= flip;
        let report = audit(&log);
        prop_assert!(!report.clean, "block {block}, byte {at}");
        prop_assert!(report.findings.iter().any(|finding| finding.height.0 == block as u64), "{:#?}", report.findings);
    }

    #[test]
    fn an_audit_of_any_bytes_ends_with_a_report(rows in prop::collection::vec((0u64..9, prop::collection::vec(any::<u8>(), 0..300)), 0..6)) {
        let mut next = 0;
        let rows = rows.iter().map(|(gap, raw)| {
            next += gap;
            (next, raw.as_slice())
        });
        prop_assert!(!audit_rows(rows.collect::<Vec<_>>()).clean);
    }
}
