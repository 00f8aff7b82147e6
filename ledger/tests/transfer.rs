//! A log as one file: what is exported can be imported, audited and replayed, and nothing that was changed can.
#![expect(clippy::unwrap_used, reason = "tests unwrap")]

mod chain;

use proptest::prelude::*;
use pyrsia_ledger::audit::FindingKind;
use pyrsia_ledger::log::export::{EXPORT_MAGIC, ExportReader, ExportWriter, Record};
use pyrsia_ledger::log::{
    Beside, BlockLog, LedgerReader, ReadError, SoundBlocks, Threads, TransferError, export_log, fold_checked, import_log,
    replay_to,
};
use pyrsia_ledger::{BlockHash, Height, NetworkId, Projections, SealedBlock, Sha256Digest, Signature, SignedEvent};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const BLOCKS: u64 = 8;
const CORES: usize = 2;
/// One for each core and one that reads.
const THREADS: Threads = Threads { cores: CORES, all_at_once: on_the_first::<{ CORES + 1 }> };
const TOO_FEW_THREADS: [Threads; 3] = [
    Threads { cores: CORES, all_at_once: on_the_first::<0> },
    Threads { cores: CORES, all_at_once: on_the_first::<1> },
    Threads { cores: CORES, all_at_once: on_the_first::<2> },
];

/// As many threads as there are, for the first of what asks for one.
#[expect(clippy::disallowed_methods, reason = "the test has the threads that the ledger is lent")]
fn on_the_first<'a, const BEGUN: usize>(mut beside: Vec<Beside<'a>>, here: Box<dyn FnOnce() + 'a>) {
    beside.truncate(BEGUN);
    std::thread::scope(move |scope| {
        for work in beside {
            scope.spawn(work);
        }
        here();
    });
}

fn folder(root: &Path, blocks: &[SealedBlock]) -> PathBuf {
    let folder = root.join("ledger");
    let (mut log, _) = BlockLog::open(&folder).unwrap();
    log.append_all(blocks).unwrap();
    folder
}

fn with_sound<T>(path: &Path, then: impl FnOnce(SoundBlocks) -> T) -> T {
    let scratch = tempfile::tempdir().unwrap();
    then(SoundBlocks::new(LedgerReader::open(path, scratch.path()).unwrap()))
}

fn export(path: &Path) -> Vec<u8> {
    with_sound(path, |blocks| export_log(blocks, vec![], &mut |_| ())).unwrap().0
}

fn import(file: &Path, folder: &Path) -> Result<Height, TransferError> {
    with_sound(file, |blocks| import_log(blocks, None, folder, THREADS, &mut |_| ())).map(|state| state.height())
}

#[test]
fn what_is_exported_is_imported_block_by_block() {
    let (root, blocks) = (tempfile::tempdir().unwrap(), chain::blocks(BLOCKS));
    let ledger = folder(root.path(), &blocks);
    let exported = export(&ledger);
    let (file, copy) = (root.path().join("log"), root.path().join("copy"));
    fs::write(&file, &exported).unwrap();
    assert_eq!(import(&file, &copy).unwrap(), Height(BLOCKS - 1));
    assert_eq!(BlockLog::open(&copy).unwrap().0.blocks(Height(0), usize::MAX).unwrap(), blocks);
    assert_eq!(export(&copy), exported, "the same log is the same file");
    for path in [&ledger, &file, &copy] {
        let (report, rows) = chain::audit(path);
        assert!(report.clean && rows.len() as u64 == BLOCKS, "{:#?}", report.findings);
    }
    assert!(matches!(import(&file, &copy), Err(TransferError::Occupied(_))), "a log is never written over another one");
    let elsewhere = NetworkId::new(Sha256Digest::of(b"mine"));
    let refused =
        with_sound(&file, |blocks| import_log(blocks, Some(elsewhere), &root.path().join("mine"), THREADS, &mut |_| ()));
    assert!(matches!(refused, Err(TransferError::Network { .. })));
    assert!(!root.path().join("mine").exists() && !root.path().join("mine.importing").exists());
}

#[test]
fn a_replay_ends_at_the_height_it_is_asked_for() {
    let (root, blocks) = (tempfile::tempdir().unwrap(), chain::blocks(BLOCKS));
    let ledger = folder(root.path(), &blocks);
    for height in [0, 3, BLOCKS - 1] {
        let state = with_sound(&ledger, |found| replay_to(found, Some(Height(height)), &mut |_| ())).unwrap();
        assert_eq!((state.height(), state.tip()), (Height(height), chain::hash_at(&blocks, Height(height))));
    }
    let beyond = with_sound(&ledger, |found| replay_to(found, Some(Height(99)), &mut |_| ()));
    assert!(matches!(beyond, Err(TransferError::NotThere { wanted: Height(99), .. })));
}

#[test]
fn a_ledger_is_found_below_a_data_folder_and_one_in_use_is_left_alone() {
    let (root, blocks) = (tempfile::tempdir().unwrap(), chain::blocks(2));
    let data = root.path().join("node");
    fs::create_dir_all(data.join("pyrsia")).unwrap();
    fs::rename(folder(root.path(), &blocks), data.join("pyrsia/blockchain")).unwrap();
    assert!(chain::audit(&data).0.clean && chain::audit(&data.join("pyrsia")).0.clean);
    let open = |path: &Path| {
        let scratch = tempfile::tempdir().unwrap();
        LedgerReader::open(path, scratch.path()).map(|_| ())
    };
    let _node = BlockLog::open(&data.join("pyrsia/blockchain")).unwrap();
    assert!(matches!(open(&data), Err(ReadError::InUse { .. })));
    assert!(matches!(open(&root.path().join("nothing")), Err(ReadError::Missing { .. })));
    assert!(matches!(open(root.path()), Err(ReadError::NoLedger { .. })));
}

#[test]
fn reading_changes_no_byte_of_the_ledger() {
    let (root, blocks) = (tempfile::tempdir().unwrap(), chain::blocks(BLOCKS));
    let ledger = folder(root.path(), &blocks);
    // Opening this in place would cut the journal off at the damage.
    let journal = chain::files(&ledger).into_iter().find(|path| path.extension().is_some_and(|e| e == "jnl")).unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last / 2] ^= 0x10;
    fs::write(&journal, &bytes).unwrap();
    let before: Vec<_> = chain::files(&ledger).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    let (report, _) = chain::audit(&ledger);
    assert!(!report.clean);
    let after: Vec<_> = chain::files(&ledger).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert!(before == after);
}

/// What a follower says who takes block after block.
fn followed(file: &Path) -> Result<Height, TransferError> {
    with_sound(file, |blocks| {
        let mut state: Option<Projections> = None;
        for block in blocks {
            let (sealed, _) = block?;
            let next = state.as_ref().map_or_else(|| Projections::from_genesis(&sealed), |state| state.apply_sealed(&sealed));
            let refused = |source| TransferError::Refused { height: sealed.height(), source: Box::new(source) };
            state = Some(next.map_err(refused)?);
        }
        state.map(|state| state.height()).ok_or(TransferError::Empty)
    })
}

fn in_words(error: &TransferError) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Blocks of so many events each, behind the founding one.
fn blocks_of(counts: &[u64]) -> Vec<SealedBlock> {
    let mut blocks = vec![chain::genesis_block()];
    let mut state = Projections::from_genesis(&blocks[0]).unwrap();
    for events in counts {
        blocks.push(chain::next_block(&state, *events));
        state = state.apply(&blocks.last().unwrap().block).unwrap();
    }
    blocks
}

/// One event, none, and enough for their signatures to be looked at behind the certificate.
const LARGE_AND_SMALL: [u64; 6] = [1, 70, 0, 2, 66, 3];

fn large_and_small() -> Vec<SealedBlock> {
    thread_local!(static BLOCKS: Vec<SealedBlock> = blocks_of(&LARGE_AND_SMALL));
    BLOCKS.with(Clone::clone)
}

fn file_of<'a>(root: &Path, blocks: impl IntoIterator<Item = &'a [u8]>) -> PathBuf {
    let mut writer = ExportWriter::new(vec![]).unwrap();
    blocks.into_iter().for_each(|raw| writer.block(BlockHash::NONE, raw).unwrap());
    let file = root.join("log");
    fs::write(&file, writer.finish().unwrap()).unwrap();
    file
}

/// What a forger changes, and what it then makes good again.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    EventSignature,
    Precommit,
    Event,
    TreeRoot,
    /// Any byte.
    Byte,
}

fn forged(sealed: &SealedBlock, forgery: Forgery, at: prop::sample::Index, flip: u8) -> Vec<u8> {
    let mut sealed = sealed.clone();
    let flipped = |signature: &Signature| {
        let mut bytes = *signature.as_bytes();
        bytes[at.index(64)] ^= flip;
        Signature::from_bytes(bytes)
    };
    let events = &mut sealed.block.events;
    match forgery {
        Forgery::EventSignature if !events.is_empty() => {
            let at = at.index(events.len());
            events[at].signature = flipped(&events[at].signature);
        }
        Forgery::Event if !events.is_empty() => {
            let at = at.index(events.len());
            events[at].unsigned.sequence += u64::from(flip);
        }
        Forgery::TreeRoot => sealed.block.header.tree_root = Sha256Digest::of(&[flip]),
        Forgery::Byte => {
            let mut raw = sealed.encode();
            let at = at.index(raw.len());
            raw[at] ^= flip;
            return raw;
        }
        _ => {
            let at = at.index(sealed.certificate.signatures.len());
            let (_, signature) = &mut sealed.certificate.signatures[at];
            *signature = flipped(signature);
        }
    }
    sealed.encode()
}

fn forgery() -> impl Strategy<Value = Forgery> {
    use Forgery::{Byte, Event, EventSignature, Precommit, TreeRoot};
    prop::sample::select(vec![EventSignature, Precommit, Event, TreeRoot, Byte])
}

fn exported() -> Vec<u8> {
    thread_local!(static EXPORTED: Vec<u8> = {
        let root = tempfile::tempdir().unwrap();
        export(&folder(root.path(), &chain::blocks(4)))
    });
    EXPORTED.with(Clone::clone)
}

/// Writes the bytes as a file, and gives what an audit and an import say of it.
fn tried(bytes: &[u8]) -> (bool, Result<Height, TransferError>) {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("log");
    fs::write(&file, bytes).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    match LedgerReader::open(&file, scratch.path()) {
        Ok(_) => (chain::audit(&file).0.clean, import(&file, &root.path().join("copy"))),
        Err(error) => (false, Err(TransferError::Damaged { height: Height(0), sentence: error.to_string() })),
    }
}

#[test]
fn a_forged_file_with_good_check_sums_is_refused_for_what_its_blocks_say() {
    let mut blocks = chain::blocks(4);
    blocks[2].block.events[0].unsigned.claimed_time_ms += 1;
    let mut writer = ExportWriter::new(vec![]).unwrap();
    for sealed in &blocks {
        writer.block(sealed.block.hash(), &sealed.encode()).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let (clean, imported) = tried(&bytes);
    assert!(!clean);
    assert!(matches!(imported, Err(TransferError::Refused { height: Height(2), .. })), "{imported:?}");
}

#[test]
fn a_short_file_with_a_good_trailer_of_another_tip_is_found() {
    let blocks = chain::blocks(3);
    let mut writer = ExportWriter::new(vec![]).unwrap();
    for sealed in &blocks {
        writer.block(BlockHash::NONE, &sealed.encode()).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("log");
    fs::write(&file, writer.finish().unwrap()).unwrap();
    let (report, _) = chain::audit(&file);
    assert_eq!(report.findings.iter().map(|finding| finding.what).collect::<Vec<_>>(), [FindingKind::Tip]);
}

#[test]
fn of_a_wrong_signature_under_an_event_and_one_in_the_certificate_the_one_that_a_follower_meets_is_told() {
    for (events, told) in [(3, "the signature is wrong"), (70, "is not final")] {
        let mut blocks = blocks_of(&[events]);
        let flipped = |signature: &mut Signature| {
            let mut bytes = *signature.as_bytes();
            bytes[40] ^= 1;
            *signature = Signature::from_bytes(bytes);
        };
        flipped(&mut blocks[1].block.events[2].signature);
        blocks[1] = chain::resealed(&Projections::from_genesis(&blocks[0]).unwrap(), &blocks[1].block.events);
        flipped(&mut blocks[1].certificate.signatures[0].1);
        let root = tempfile::tempdir().unwrap();
        let raw: Vec<Vec<u8>> = blocks.iter().map(SealedBlock::encode).collect();
        let file = file_of(root.path(), raw.iter().map(Vec::as_slice));
        let refused = in_words(&import(&file, &root.path().join("copy")).unwrap_err());
        assert_eq!(refused, in_words(&followed(&file).unwrap_err()));
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn of_two_wrong_signatures_in_different_batches_the_one_of_the_lower_block_is_told() {
    let mut blocks = blocks_of(&[1, 600, 600, 1]);
    for (height, event) in [(2, 599), (3, 0)] {
        let signature = &mut blocks[height].block.events[event].signature;
        let mut bytes = *signature.as_bytes();
        bytes[40] ^= 1;
        *signature = Signature::from_bytes(bytes);
    }
    let mut state = Projections::from_genesis(&blocks[0]).unwrap();
    // The tree is made good again, so that nothing but the signatures is wrong.
    for sealed in blocks.iter_mut().skip(1) {
        *sealed = chain::resealed(&state, &sealed.block.events);
        state = state.apply(&sealed.block).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let raw: Vec<Vec<u8>> = blocks.iter().map(SealedBlock::encode).collect();
    let refused = import(&file_of(root.path(), raw.iter().map(Vec::as_slice)), &root.path().join("copy")).unwrap_err();
    let sentence = in_words(&refused);
    assert!(sentence.contains("block 2, event 599") && sentence.ends_with("the signature is wrong"), "{sentence}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_checked_on_any_number_of_threads_is_refused_with_the_words_of_who_follows_block_by_block(
        forgeries in prop::collection::vec((1..=LARGE_AND_SMALL.len(), forgery(), any::<prop::sample::Index>(), 1u8..), 0..4),
    ) {
        let blocks = large_and_small();
        let mut raw: Vec<Vec<u8>> = blocks.iter().map(SealedBlock::encode).collect();
        for (height, forgery, at, flip) in &forgeries {
            // Several in one block, where the ones before left it readable.
            let sealed = SealedBlock::decode(&raw[*height]).unwrap_or_else(|_| blocks[*height].clone());
            raw[*height] = forged(&sealed, *forgery, *at, *flip);
        }
        let root = tempfile::tempdir().unwrap();
        let file = file_of(root.path(), raw.iter().map(Vec::as_slice));
        let followed = followed(&file).map_err(|error| in_words(&error));
        for threads in TOO_FEW_THREADS.into_iter().chain([THREADS]) {
            let folded = with_sound(&file, |blocks| fold_checked(blocks, None, threads, &mut |_| Ok(())));
            prop_assert_eq!(&followed, &folded.map(|state| state.height()).map_err(|error| in_words(&error)));
        }
    }

    #[test]
    fn no_changed_or_truncated_file_is_clean_or_imported(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
        let mut bytes = exported();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        let (clean, imported) = tried(&bytes);
        prop_assert!(!clean && imported.is_err(), "byte {at}");
        bytes = exported();
        bytes.push(flip);
        prop_assert!(!tried(&bytes).0, "something behind the end");
    }

    /// Decoders take any bytes: they answer, and never panic or take more memory than a block may have.
    #[test]
    fn any_bytes_can_be_decoded_without_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400), lengths in prop::collection::vec(any::<u32>(), 0..4), at in any::<prop::sample::Index>()) {
        let _ = SealedBlock::decode(&bytes);
        let _ = SignedEvent::decode(&bytes);
        for length in lengths {
            // Lengths are where decoders break: any number anywhere in an event and in a block that were good.
            let good = chain::genesis_block();
            for mut raw in [good.encode(), good.block.events[0].encode()] {
                let at = at.index(raw.len() - 4);
                raw[at..at + 4].copy_from_slice(&length.to_le_bytes());
                let _ = SealedBlock::decode(&raw);
                let _ = SignedEvent::decode(&raw);
            }
            bytes.splice(0..0, length.to_le_bytes());
        }
        bytes.splice(0..0, *EXPORT_MAGIC);
        let mut reader = ExportReader::new(bytes.as_slice()).unwrap();
        while let Ok(Record::Block { .. }) = reader.next_record() {}
    }
}
