//! Hashing: by the host in a component, which is several times as fast as the guest; by sha2 in a native test.

#[cfg(target_arch = "wasm32")]
use crate::contract::pyrsia::verifier::hashing;
use crate::files::File;

/// A digest.
pub type Sha256 = [u8; 32];

/// Bytes gathered before they cross into the host: a crossing costs about as much as hashing a hundred bytes.
const GATHERED_BYTES: usize = 32 << 10;

/// A sha256 of what never lies in memory as a whole. The host has 256 of them at a time.
pub struct Hasher {
    gathered: Vec<u8>,
    #[cfg(target_arch = "wasm32")]
    host: hashing::Hasher,
    #[cfg(not(target_arch = "wasm32"))]
    native: sha2::Sha256,
}

impl Hasher {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            gathered: Vec::new(),
            #[cfg(target_arch = "wasm32")]
            host: hashing::Hasher::new(),
            #[cfg(not(target_arch = "wasm32"))]
            native: <sha2::Sha256 as sha2::Digest>::new(),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES {
            self.flush();
        }
        if bytes.len() > GATHERED_BYTES / 2 {
            self.flush();
            self.pass_on(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    /// Adds a part of a file without its bytes coming into the component. The range must lie inside the file.
    pub fn update_from(&mut self, file: &File<'_>, offset: u64, len: u64) {
        self.flush();
        #[cfg(target_arch = "wasm32")]
        self.host.update_from(file.number(), offset, len);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let mut at = offset;
            while at < offset + len {
                let part = file.read_at(at, (offset + len - at).min(GATHERED_BYTES as u64) as usize);
                assert!(!part.is_empty(), "the range lies inside the file");
                self.pass_on(&part);
                at += part.len() as u64;
            }
        }
    }

    pub fn finish(mut self) -> Sha256 {
        self.flush();
        #[cfg(target_arch = "wasm32")]
        return digest(hashing::Hasher::finish(self.host));
        #[cfg(not(target_arch = "wasm32"))]
        sha2::Digest::finalize(self.native).into()
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            self.pass_on(&gathered);
            self.gathered = gathered;
            self.gathered.clear();
        }
    }

    fn pass_on(&mut self, bytes: &[u8]) {
        #[cfg(target_arch = "wasm32")]
        self.host.update(bytes);
        #[cfg(not(target_arch = "wasm32"))]
        sha2::Digest::update(&mut self.native, bytes);
    }
}

/// The digest of a few bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn digest(bytes: Vec<u8>) -> Sha256 {
    bytes.try_into().expect("the contract promises 32 bytes")
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

/// A hash over named fields, each with its length in front, so that no two lists of fields have the same bytes.
pub struct FieldHasher(Hasher);

impl FieldHasher {
    /// `domain` says what is hashed, so that equal fields of two kinds of things differ.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(Hasher::new());
        hasher.bytes(domain.as_bytes());
        hasher
    }

    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.bytes(name.as_bytes());
        self.bytes(value);
        self
    }

    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.field(name, &value.to_be_bytes())
    }

    pub fn finish(self) -> Sha256 {
        self.0.finish()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;

    #[test]
    fn pieces_of_any_size_and_files_give_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7 + n / 256) as u8).collect();
        let files = MemoryFiles(vec![("f".into(), bytes.clone())]);
        let output = files.output();
        let file = output.files().next().unwrap();
        let mut hasher = Hasher::new();
        let mut at = 0;
        for size in [1usize, 31, 16_384, 16_385, 40_000].iter().cycle() {
            let end = (at + size).min(100_000);
            hasher.update(&bytes[at..end]);
            at = end;
            if at == 100_000 {
                break;
            }
        }
        hasher.update_from(&file, 100_000, 100_000);
        assert_eq!(hasher.finish(), sha256(&bytes));
        assert_eq!(hex(&sha256(b""))[..8], *"e3b0c442");
    }

    #[test]
    fn fields_cannot_flow_into_each_other() {
        let hash = |fields: &[(&str, &[u8])]| {
            let mut hasher = FieldHasher::new("d");
            for (name, value) in fields {
                hasher.field(name, value);
            }
            hasher.finish()
        };
        assert_ne!(hash(&[("a", b"bc")]), hash(&[("ab", b"c")]));
        assert_ne!(hash(&[("a", b""), ("b", b"")]), hash(&[("a", b"b")]));
    }
}
