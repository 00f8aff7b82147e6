//! Signed notes: a text, and under it lines by which keys with names sign it (C2SP signed-note).
//!
//! Owns the form, the keys in it and whether their signatures hold; says nothing about what a text means. Of the signature
//! types it knows the two that a ledger makes: Ed25519 (0x01) and the timestamped cosignature (0x04, C2SP tlog-cosignature).

use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use crate::signed::{Claim, Signature, wrong_claims};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// The longest note that is read, in bytes: a checkpoint that a thousand nodes signed, with room to spare.
pub const NOTE_BYTES_MAX: usize = 1 << 19;
/// What a line of a cosignature signs before the text (C2SP tlog-cosignature, Ed25519 signed message).
pub(crate) const COSIGNATURE_HEADER: &str = "cosignature/v1\n";
/// What every line of a signature begins with: an em dash and a space.
const LINE_START: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;

/// Why something is no signed note, or not one by these keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    #[error("a note has {size_bytes} bytes, more than {NOTE_BYTES_MAX}")]
    TooLarge { size_bytes: usize },
    #[error("a note is UTF-8 without control characters, and its text ends with a line feed")]
    Text,
    #[error("no signature stands below the text of a note")]
    Unsigned,
    #[error("line {0} of the signatures is no signature of a note")]
    Line(usize),
    #[error("the name of a key is empty or has a space, a plus or a control character in it")]
    Name,
    #[error("this is no verifier key of a note: {0}")]
    Key(String),
    #[error("the signature of {0} is wrong")]
    Signature(String),
}

/// What a key of a note signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureType {
    /// The text.
    Ed25519 = 0x01,
    /// A time and the text.
    Cosignature = 0x04,
}

/// A key that signs notes, under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    signature_type: SignatureType,
    key: NodeId,
}

/// One line under a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; KEY_ID_BYTES],
    bytes: Vec<u8>,
}

/// A text and the signatures under it. What it displays is what it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl NoteKey {
    pub fn new(name: impl Into<String>, signature_type: SignatureType, key: NodeId) -> Result<Self, NoteError> {
        let name = name.into();
        if is_name(&name) { Ok(Self { name, signature_type, key }) } else { Err(NoteError::Name) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn node(&self) -> NodeId {
        self.key
    }

    /// The first bytes of SHA-256 over the name, a line feed, the signature type and the key.
    pub fn id(&self) -> [u8; KEY_ID_BYTES] {
        let digest = Sha256Digest::of_parts(&[self.name.as_bytes(), b"\n", &self.encoded()]);
        std::array::from_fn(|at| digest.as_bytes()[at])
    }

    fn encoded(&self) -> [u8; 33] {
        let mut bytes = [self.signature_type as u8; 33];
        bytes[1..].copy_from_slice(self.key.public_key());
        bytes
    }

    /// The line of this key under a note.
    pub(crate) fn line(&self, bytes: Vec<u8>) -> NoteSignature {
        NoteSignature { name: self.name.clone(), key_id: self.id(), bytes }
    }

    /// The line of this key when it cosigns at `time_s`.
    pub(crate) fn cosignature_line(&self, time_s: u64, signature: &Signature) -> NoteSignature {
        self.line([time_s.to_be_bytes().as_slice(), signature.as_bytes()].concat())
    }

    /// What a line says that this key signed; none when it cannot be a signature of this key.
    fn claim(&self, text: &str, line: &NoteSignature) -> Option<Claim> {
        let (signed, signature) = match self.signature_type {
            SignatureType::Ed25519 => (text.to_owned(), line.bytes.as_slice()),
            SignatureType::Cosignature => {
                let (time_s, signature) = line.bytes.split_first_chunk()?;
                (cosignature_text(u64::from_be_bytes(*time_s), text), signature)
            }
        };
        Some(Claim::of_bytes(self.key, signed.into_bytes(), Signature::from_bytes(signature.try_into().ok()?)))
    }
}

/// What a cosignature at `time_s` signs.
pub fn cosignature_text(time_s: u64, text: &str) -> String {
    format!("{COSIGNATURE_HEADER}time {time_s}\n{text}")
}

/// The form of a verifier key: its name, its id and, in base64, its type and key, with plus signs in between.
impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(self.encoded()))
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let parse = || {
            let (name, rest) = text.split_once('+')?;
            let (_, key) = rest.split_once('+')?;
            let (signature_type, key) = match STANDARD.decode(key).ok()?.split_first()? {
                (0x01, key) => (SignatureType::Ed25519, key.try_into().ok()?),
                (0x04, key) => (SignatureType::Cosignature, key.try_into().ok()?),
                _ => return None,
            };
            let key = NodeId::from_public_key(key);
            key.check().ok()?;
            // The id in the middle is right when the key displays as it was written.
            Self::new(name, signature_type, key).ok().filter(|key| key.to_string() == text)
        };
        parse().ok_or_else(|| NoteError::Key(text.chars().take(128).collect()))
    }
}

impl NoteSignature {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        self.key_id
    }

    /// The time of a cosignature, in seconds since the Unix epoch: the first bytes of one.
    pub fn time_s(&self) -> Option<u64> {
        self.bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (key_id, bytes) = decoded.split_first_chunk()?;
        let is_whole = is_name(name) && !bytes.is_empty();
        is_whole.then(|| Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = STANDARD.encode([self.key_id.as_slice(), &self.bytes].concat());
        write!(f, "{LINE_START}{} {encoded}", self.name)
    }
}

impl SignedNote {
    pub(crate) fn new(text: String, signatures: Vec<NoteSignature>) -> Self {
        Self { text, signatures }
    }

    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge { size_bytes: note.len() });
        }
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Text)?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Text);
        }
        // The text may have empty lines: the last one ends it.
        let end = note.rfind("\n\n").ok_or(NoteError::Unsigned)?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Unsigned)?;
        let parse = |(at, line)| NoteSignature::parse(line).ok_or(NoteError::Line(at));
        let signatures = (1..).zip(lines.split('\n')).map(parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, with the line feed that ends it.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Puts a line above the others.
    #[must_use]
    pub(crate) fn signed_first_by(mut self, line: NoteSignature) -> Self {
        self.signatures.insert(0, line);
        self
    }

    /// Those of `known` that signed, each once, in the order of the lines. The lines of other keys are ignored, as the
    /// specification wants it; one wrong line of a known key spoils the note.
    pub fn signers<'k>(&self, known: &'k [NoteKey]) -> Result<Vec<&'k NoteKey>, NoteError> {
        let (mut signers, mut claims): (Vec<&NoteKey>, Vec<Claim>) = (vec![], vec![]);
        for line in &self.signatures {
            let Some(key) = known.iter().find(|key| key.name == line.name && key.id() == line.key_id) else { continue };
            claims.push(key.claim(&self.text, line).ok_or_else(|| NoteError::Signature(key.name.clone()))?);
            signers.push(key);
        }
        if let Some(wrong) = wrong_claims(&claims).first() {
            return Err(NoteError::Signature(signers[*wrong].name.clone()));
        }
        let mut seen: Vec<&NoteKey> = vec![];
        signers.retain(|key| {
            let is_new = !seen.contains(key);
            seen.push(key);
            is_new
        });
        Ok(signers)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn is_name(name: &str) -> bool {
    let is_wrong = |char: char| char.is_whitespace() || char == '+' || char < '\u{20}';
    !name.is_empty() && !name.contains(is_wrong)
}

#[cfg(test)]
mod tests;
