//! What an audit found, as values that print and serialise: the order of the kinds is the order of a report.

use crate::block::{BlockHash, Height};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::projection::{BlockError, HeaderPart};
use crate::signed::{EventId, NetworkId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;
use std::error::Error;
use std::fmt;

/// What kind of damage or wrong a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The files cannot be read as what they should be.
    Storage,
    /// A block is not there.
    Missing,
    /// Bytes are no block in its one encoding.
    Decode,
    /// Another network than the pinned or the founded one.
    Network,
    /// A height, a parent or a time that does not follow.
    Chain,
    /// An event that a rule of the ledger refuses.
    Rule,
    /// The size or the root of the tree over all events.
    Tree,
    /// The commitment to the state.
    StateRoot,
    /// A block that the validators of its height did not make final.
    Certificate,
    /// A signature that does not hold, of an event or in a certificate.
    Signature,
    /// The end of the log is not the announced one.
    Tip,
    /// From here on part of the checks cannot be made.
    Unfollowed,
    /// Stored bytes of a published artifact that are not those of its record.
    Bytes,
    /// Stored bytes that are those of the record, of which the pinned verifier does not say what the record says.
    Canonical,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Missing => "missing",
            Self::Decode => "decode",
            Self::Network => "network",
            Self::Chain => "chain",
            Self::Rule => "rule",
            Self::Tree => "tree",
            Self::StateRoot => "state root",
            Self::Certificate => "certificate",
            Self::Signature => "signature",
            Self::Tip => "tip",
            Self::Unfollowed => "unfollowed",
            Self::Bytes => "bytes",
            Self::Canonical => "canonical",
        })
    }
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Finding {
    pub height: Height,
    pub what: FindingKind,
    /// The event it is about, where it is about one.
    pub event: Option<EventId>,
    /// The signer it is about, where it is about one.
    pub node: Option<NodeId>,
    pub sentence: String,
}

impl Finding {
    pub fn new(height: Height, what: FindingKind, sentence: impl Into<String>) -> Self {
        Self { height, what, event: None, node: None, sentence: sentence.into() }
    }

    pub(super) fn of_block(height: Height, error: &BlockError) -> Self {
        let (what, event) = match error {
            BlockError::Height { .. } => (FindingKind::Chain, None),
            BlockError::Header { what, .. } => (of_header(*what), None),
            BlockError::TooLarge { .. } => (FindingKind::Rule, None),
            BlockError::Event { id, .. } => (FindingKind::Rule, Some(*id)),
            BlockError::Signature { id, .. } => (FindingKind::Signature, Some(*id)),
            BlockError::Certificate { .. } => (FindingKind::Certificate, None),
            BlockError::Genesis(_) => (FindingKind::Chain, None),
        };
        Self { event, ..Self::new(height, what, sentence(error)) }
    }
}

fn of_header(part: HeaderPart) -> FindingKind {
    match part {
        HeaderPart::Version | HeaderPart::Parent | HeaderPart::Time | HeaderPart::Any => FindingKind::Chain,
        HeaderPart::Network => FindingKind::Network,
        HeaderPart::TreeSize | HeaderPart::TreeRoot => FindingKind::Tree,
        HeaderPart::StateRoot => FindingKind::StateRoot,
        HeaderPart::Proposer | HeaderPart::Validators | HeaderPart::NextValidators => FindingKind::Certificate,
    }
}

/// An error and its causes in one line.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// How much was looked at, and where the ledger stands by what was found good.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Summary {
    pub network: Option<NetworkId>,
    pub name: Option<String>,
    pub blocks: u64,
    pub events: u64,
    /// Signatures verified, of events and in certificates.
    pub signatures: u64,
    pub from: Option<Height>,
    pub to: Option<Height>,
    /// The newest block up to which every rule and root could be checked, and what stands there.
    pub followed_to: Option<Height>,
    pub tip: Option<BlockHash>,
    pub tree_size: Option<u64>,
    pub tree_root: Option<Sha256Digest>,
    pub state_root: Option<Sha256Digest>,
    /// The newest block that an earlier run checked, which wrote down what it had found; this run read nothing before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_after: Option<Height>,
}

/// What an audit comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    pub clean: bool,
    pub summary: Summary,
    /// Every finding, by height; of very many, the first [`super::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many there are, kept or not.
    pub findings_total: u64,
}

impl AuditReport {
    /// With more findings, of which there are `total`.
    pub fn with(mut self, findings: impl IntoIterator<Item = Finding>, total: u64) -> Self {
        self.findings.extend(findings);
        self.findings_total += total;
        self.clean = self.findings_total == 0;
        self.findings = first_of(self.findings);
        self
    }
}

/// Those that a report keeps, in its order.
pub(super) fn first_of(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort();
    findings.truncate(super::FINDINGS_MAX);
    findings
}
