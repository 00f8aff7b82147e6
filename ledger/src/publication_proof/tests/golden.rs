//! A log with every kind of event, and a proof out of it, as files: what they are made of may get new forms, and these are read for
//! ever.
//!
//! `UPDATE_GOLDEN=1` writes a file that is not there; it never overwrites one.

use super::*;
use crate::audit::{Audit, AuditReport};
use crate::block::BlockId;
use crate::certificate::{UnsignedVote, VoteKind};
use crate::event::{
    BuildCandidateVouched, BuildDisputed, DisputeReport, EquivocationProved, GroupComparison, GroupVerdict, ReportedDifference,
    Vouch,
};
use crate::evidence::{Evidence as Equivocation, SignedVote};
use crate::log::export::ExportWriter;
use crate::log::{LedgerReader, Row, SoundBlocks, replay_to};
use std::path::{Path, PathBuf};

/// The network of the golden log, as whoever checks the proof would know it.
const NETWORK: &str = "01aa13715768d031e59d002cd12ab79125303bb8bc7bd7655da9f4ace6c319a0";
const KINDS: [&str; 13] = [
    "AddArtifact",
    "BuildCandidateVouched",
    "BuildDisputed",
    "BuildRequested",
    "BuildResultCommitted",
    "BuildResultRevealed",
    "BuildWaitEnded",
    "EquivocationProved",
    "NetworkFounded",
    "NodeActivated",
    "NodeAuthorizationApproved",
    "NodeRevocationApproved",
    "VerifierApproved",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The file, which must be these bytes.
fn golden(name: &str, found: &[u8]) -> Vec<u8> {
    let path = path(name);
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).expect("writes the golden file");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|_| panic!("{name} is not there: run with UPDATE_GOLDEN=1"));
    assert!(golden == found, "{name} is not what this code makes");
    golden
}

fn noisy(contents: &[u8]) -> BuildOutcome {
    let BuildOutcome::Built { source, mut artifacts } = built(b"image") else { unreachable!("it is built") };
    artifacts[0].sha256 = Sha256Digest::of(contents);
    BuildOutcome::Built { source, artifacts }
}

fn disputed(bench: &mut Bench) {
    let id = bench.open_build(0);
    let abstained = BuildOutcome::Abstained { reason: "out of fuel".into() };
    // The fifth says nothing, so the others end the committing.
    bench.judge(id, &[(0, built(b"one")), (1, built(b"two")), (2, built(b"three")), (3, abstained)]);
    assert_eq!(bench.status(id), &BuildStatus::Disputed { reports: 0 });
    let difference = ReportedDifference {
        artifact: "alpine:3.16.0".into(),
        path: vec!["layer".into(), "etc/motd".into()],
        what: "bytes".into(),
        a: Some("one".into()),
        b: Some("two".into()),
    };
    let (a, b) = (bench.node(0), bench.node(1));
    let comparison = GroupComparison { a, b, verdict: GroupVerdict::Different, differences: vec![difference], omitted: 0 };
    let report = DisputeReport { comparisons: vec![comparison], omitted: 2 };
    bench.commit(1, Event::BuildDisputed(BuildDisputed { build_id: id, report }));
}

/// Published after a candidate was given up, with a judge that showed its result too late and one that came to none.
fn vouched(bench: &mut Bench) -> BuildId {
    let id = bench.open_build(1);
    let failed = BuildOutcome::Failed { reason: "no such image".into() };
    let outcomes = [noisy(b"a"), noisy(b"a"), noisy(b"b"), noisy(b"b"), noisy(b"b"), failed];
    for (judge, outcome) in outcomes.iter().enumerate() {
        bench.commit(judge, bench.commitment(judge, id, outcome));
    }
    for judge in [0, 1, 2, 3, 5] {
        bench.commit(judge, bench.revelation(judge, id, outcomes[judge].clone()));
    }
    bench.end_wait(id, WaitPhase::Revealing);
    bench.commit(4, bench.revelation(4, id, outcomes[4].clone()));
    let mut given_up = false;
    while let BuildStatus::Vouching { candidate } = *bench.status(id) {
        let reason = || "the archive cannot be had".to_owned();
        let verdicts = if given_up {
            [Vouch::Same, Vouch::Same]
        } else {
            [Vouch::Different { reason: reason() }, Vouch::Unavailable { reason: reason() }]
        };
        let vouchers: Vec<usize> = (0..6).filter(|judge| bench.state.builds.must_vouch(&id, &bench.node(*judge))).collect();
        for (judge, verdict) in vouchers.into_iter().zip(verdicts) {
            if bench.status(id) == (&BuildStatus::Vouching { candidate }) {
                bench.commit(judge, Event::BuildCandidateVouched(BuildCandidateVouched { build_id: id, candidate, verdict }));
            }
        }
        given_up = true;
    }
    publish(bench, id, 0);
    id
}

fn every_kind() -> (Bench, BuildId) {
    let mut bench = Bench::with_members(6);
    disputed(&mut bench);
    let id = vouched(&mut bench);
    bench.revoke(4, Some(Height(30)));
    bench.revoke(3, None);
    let vote = |contents: &[u8]| {
        let digest = Sha256Digest::of(contents);
        let block = Some(BlockId { hash: crate::BlockHash(digest), tree_size: 7, tree_root: digest, time_s: 5 });
        let vote = UnsignedVote { kind: VoteKind::Precommit, height: Height(9), round: 0, block };
        SignedVote::new(&bench.keys[3], bench.state.network(), vote)
    };
    let evidence = Box::new(Equivocation::Votes { first: vote(b"one"), second: vote(b"another") });
    bench.commit(0, Event::EquivocationProved(EquivocationProved { evidence }));
    (bench, id)
}

fn exported(bench: &Bench) -> Vec<u8> {
    let mut writer = ExportWriter::new(vec![]).expect("writes to memory");
    for sealed in &bench.log {
        writer.block(sealed.block.hash(), &sealed.encode()).expect("writes to memory");
    }
    writer.finish().expect("writes to memory")
}

fn read(path: &Path) -> (LedgerReader, tempfile::TempDir) {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    (LedgerReader::open(path, scratch.path()).expect("is an exported log"), scratch)
}

fn audited(path: &Path) -> AuditReport {
    let (mut audit, mut reports) = (Audit::new(None), vec![]);
    for row in read(path).0 {
        match row {
            Row::Block { position, raw } => audit.feed(position, &raw),
            Row::End(announced) => audit.announce(announced),
            Row::Unreadable { sentence, .. } | Row::Fault { sentence, .. } => panic!("{sentence}"),
        }
        reports.extend(audit.take_work().map(|work| work.verify()));
    }
    audit.finish(reports)
}

#[test]
fn a_log_with_every_kind_of_event_reads_and_proves_what_it_always_did() {
    let (bench, id) = every_kind();
    let kinds: BTreeSet<&str> =
        bench.log.iter().flat_map(|sealed| &sealed.block.events).map(|event| event.event().kind()).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
    golden("every-kind.pyrsia-log", &exported(&bench));
    let log = path("every-kind.pyrsia-log");
    let report = audited(&log);
    assert_eq!((report.clean, report.findings.len()), (true, 0), "{:?}", report.findings);
    let state = replay_to(SoundBlocks::new(read(&log).0), None, &mut |_| ()).expect("is sound");
    assert_eq!((state.tip(), state.state_root()), (bench.state.tip(), bench.state.state_root()));
    let blocks = SoundBlocks::new(read(&log).0).map(|block| block.expect("is sound").0);
    let blocks: Vec<SealedBlock> = blocks.collect();
    assert_eq!(blocks, bench.log);
    let proof = prove(&blocks.into_iter().collect::<BlocksInMemory>(), &state, &id, None).expect("a proof");
    golden("publication.pyrsia-proof", proof.to_text().as_bytes());
}

/// Nothing but the file and the network's id.
#[test]
fn a_proof_once_made_holds_for_ever() {
    let bytes = std::fs::read(path("publication.pyrsia-proof")).expect("the golden proof");
    let verified = PublicationProof::parse(&bytes)
        .and_then(|proof| proof.verify(Some(NetworkId::new(NETWORK.parse().expect("a digest")))))
        .expect("holds");
    let stands: Vec<Stand> = verified.judges.iter().map(|judge| judge.stand).collect();
    let count = |stand| stands.iter().filter(|found| **found == stand).count();
    assert_eq!(
        [Stand::Same, Stand::SameAfterPasses, Stand::Late, Stand::Failed].map(count),
        [2, 2, 1, 1],
        "two built it, two more vouched for it, one was late and one failed"
    );
    assert_eq!((verified.needed, verified.validators, verified.cosigners.len(), verified.sets.len()), (4, 6, 6, 6));
    assert!(verified.requested_source.is_some_and(|source| source.tree.is_some()));
}
