//! Checksum files, `FILE.sha1` and their like, and the checksums themselves.
//!
//! They are of a file beside them and nothing else: a right one adds nothing to that file, so its canonical form is the file's, and a wrong one is refused.
//! MD5 and SHA-1 prove nothing here; they are there because clients ask for them.

use std::collections::BTreeMap;
use std::io::Read;

use md5::Md5;
use pyrsia_verifier_kit::Unreadable;
use pyrsia_verifier_kit::hash::{FieldHasher, Sha256, hex};
use pyrsia_verifier_kit::unreadable::Result;
use sha1::Sha1;
use sha2::{Digest, Sha512};

/// A checksum in hexadecimal digits with the name of its file.
pub const BYTES_MAX: u64 = 1024;
const PIECE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// What a checksum file's name ends with, behind a dot.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn hex_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// The algorithm of a checksum file, and the name of the file it is of.
    pub fn of_file(name: &str) -> Option<(Self, &str)> {
        let (base, extension) = name.rsplit_once('.')?;
        Some((Self::by_name(extension)?, base))
    }
}

/// Checksums of one file, in lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(BTreeMap<Algorithm, String>);

impl Sums {
    /// All that are asked for, in one pass over the content.
    pub fn of(mut content: impl Read, algorithms: &[Algorithm]) -> Result<Self> {
        let wanted = |algorithm| algorithms.contains(&algorithm);
        let mut md5 = wanted(Algorithm::Md5).then(Md5::new);
        let mut sha1 = wanted(Algorithm::Sha1).then(Sha1::new);
        let mut sha256 = wanted(Algorithm::Sha256).then(pyrsia_verifier_kit::Hasher::new);
        let mut sha512 = wanted(Algorithm::Sha512).then(Sha512::new);
        let mut piece = vec![0; PIECE_BYTES];
        if !algorithms.is_empty() {
            loop {
                let len = content.read(&mut piece)?;
                if len == 0 {
                    break;
                }
                let bytes = &piece[..len];
                md5.iter_mut().for_each(|hasher| hasher.update(bytes));
                sha1.iter_mut().for_each(|hasher| hasher.update(bytes));
                sha256.iter_mut().for_each(|hasher| hasher.update(bytes));
                sha512.iter_mut().for_each(|hasher| hasher.update(bytes));
            }
        }
        let sums = [
            (Algorithm::Md5, md5.map(|hasher| hex(&hasher.finalize()))),
            (Algorithm::Sha1, sha1.map(|hasher| hex(&hasher.finalize()))),
            (Algorithm::Sha256, sha256.map(|hasher| hex(&hasher.finish()))),
            (Algorithm::Sha512, sha512.map(|hasher| hex(&hasher.finalize()))),
        ];
        Ok(Self(sums.into_iter().filter_map(|(algorithm, sum)| Some((algorithm, sum?))).collect()))
    }

    /// Empty for one that was not asked for, which no checksum is equal to.
    pub fn get(&self, algorithm: Algorithm) -> &str {
        self.0.get(&algorithm).map_or("", String::as_str)
    }
}

/// A checksum file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: Algorithm,
    /// In lower case.
    pub digits: String,
    /// Whether there is nothing but the digits.
    pub is_plain: bool,
}

impl Checksum {
    /// The digits, in either case, alone or followed by the name of `file` as the coreutils write it, with or without the end of a line.
    pub fn parse(bytes: &[u8], algorithm: Algorithm, file: &str) -> Result<Self> {
        let fault =
            || Unreadable::new(format!("it is not {} hexadecimal digits, alone or followed by {file:?}", algorithm.hex_digits()));
        let text = std::str::from_utf8(bytes).map_err(|_| fault())?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (digits, rest) = line.split_at_checked(algorithm.hex_digits()).ok_or_else(fault)?;
        let name = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"));
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || !rest.is_empty() && name != Some(file) {
            return Err(fault());
        }
        let digits = digits.to_ascii_lowercase();
        let is_plain = text == digits;
        Ok(Self { algorithm, digits, is_plain })
    }

    /// The canonical form of a right checksum of a file with this canonical form.
    pub fn canonical(&self, file: &Sha256) -> Sha256 {
        digest_of("maven-checksum", self.algorithm, file)
    }

    /// The canonical form of a checksum of a file that is not there.
    pub fn canonical_alone(&self) -> Sha256 {
        digest_of("maven-checksum-alone", self.algorithm, self.digits.as_bytes())
    }
}

fn digest_of(domain: &str, algorithm: Algorithm, value: &[u8]) -> Sha256 {
    let mut hasher = FieldHasher::new(domain);
    hasher.field(algorithm.name(), value);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_the_algorithms_publish_for_abc() {
        let sums = Sums::of(&b"abc"[..], &Algorithm::ALL).unwrap();
        assert_eq!(sums.get(Algorithm::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(sums.get(Algorithm::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(sums.get(Algorithm::Sha256).starts_with("ba7816bf8f01cfea"));
        assert!(sums.get(Algorithm::Sha512).starts_with("ddaf35a193617aba"));
        assert_eq!(Sums::of(&b"abc"[..], &[Algorithm::Md5]).unwrap().get(Algorithm::Sha1), "");
    }

    #[test]
    fn a_checksum_is_read_in_the_forms_that_tools_write() {
        let digits = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let parse = |text: &str| Checksum::parse(text.as_bytes(), Algorithm::Sha1, "a-1.jar");
        for text in [
            digits.to_owned(),
            format!("{digits}\n"),
            format!("{digits}  a-1.jar\n"),
            format!("{digits} *a-1.jar\r\n"),
            digits.to_uppercase(),
        ] {
            let checksum = parse(&text).unwrap();
            assert_eq!((checksum.digits.as_str(), checksum.is_plain), (digits, text == digits));
        }
        for text in [
            "",
            "abc",
            &digits[1..],
            &format!("{digits}  b-1.jar"),
            &format!("{digits}0"),
            &format!("{digits}\n\n"),
            &digits.replace('a', "g"),
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_tell_checksum_files_from_others() {
        assert_eq!(Algorithm::of_file("a-1.jar.sha1"), Some((Algorithm::Sha1, "a-1.jar")));
        assert_eq!(Algorithm::of_file("a-1.jar"), None);
        assert_eq!(Algorithm::of_file("a-1.jar.asc.sha512"), Some((Algorithm::Sha512, "a-1.jar.asc")));
    }
}
