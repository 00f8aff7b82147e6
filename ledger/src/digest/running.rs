//! SHA-256 (FIPS 180-4) of messages that come piece by piece, two of them worked out in step where a processor can.

use super::{Sha256Digest, pair};
use sha2::block_api::compress256;

pub(super) const BLOCK_BYTES: usize = 64;
type Block = [u8; BLOCK_BYTES];
/// Section 5.3.3.
pub(super) const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Where the length stands in the last block.
const LENGTH_AT: usize = BLOCK_BYTES - size_of::<u64>();

/// The digest of a message of which whole blocks have come.
#[derive(Clone, Debug)]
pub struct RunningSha256 {
    words: [u32; 8],
    blocks: u64,
}

impl Default for RunningSha256 {
    fn default() -> Self {
        Self { words: START, blocks: 0 }
    }
}

impl RunningSha256 {
    /// The block of SHA-256, in bytes.
    pub const BLOCK_BYTES: usize = BLOCK_BYTES;

    pub fn update(&mut self, blocks: &[Block]) {
        compress256(&mut self.words, blocks);
        self.blocks += blocks.len() as u64;
    }

    /// Goes on with two messages at once, in little more time than with one of them.
    pub fn update_both(runs: [&mut Self; 2], blocks: [&[Block]; 2]) {
        let [one, other] = runs;
        let in_step = blocks[0].len().min(blocks[1].len());
        let [(first, first_rest), (second, second_rest)] = blocks.map(|blocks| blocks.split_at(in_step));
        if pair::compress([&mut one.words, &mut other.words], [first, second]) {
            one.blocks += in_step as u64;
            other.blocks += in_step as u64;
        } else {
            one.update(first);
            other.update(second);
        }
        one.update(first_rest);
        other.update(second_rest);
    }

    /// The digest of all that came and of `rest`, whatever its length.
    pub fn finish(mut self, rest: &[u8]) -> Sha256Digest {
        let (blocks, rest) = rest.as_chunks();
        self.update(blocks);
        let bits = 8 * (self.blocks * BLOCK_BYTES as u64 + rest.len() as u64);
        let mut last = [0; BLOCK_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        if rest.len() >= LENGTH_AT {
            self.update(&[last]);
            last = [0; BLOCK_BYTES];
        }
        last[LENGTH_AT..].copy_from_slice(&bits.to_be_bytes());
        self.update(&[last]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.words) {
            *bytes = word.to_be_bytes();
        }
        Sha256Digest::new(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    proptest! {
        #[test]
        fn two_messages_in_pieces_have_the_digests_of_each_alone(
            messages in prop::array::uniform2(prop::collection::vec(any::<u8>(), 0..1_500)),
            steps in prop::collection::vec(any::<[Index; 2]>(), 0..5),
        ) {
            let [one, other] = messages.each_ref().map(|message| message.as_slice().as_chunks());
            let (mut runs, mut left) = ([RunningSha256::default(), RunningSha256::default()], [one.0, other.0]);
            for step in steps {
                let [first, second] = [0, 1].map(|at| left[at].split_at(step[at].index(left[at].len() + 1)));
                let [run, beside] = &mut runs;
                RunningSha256::update_both([run, beside], [first.0, second.0]);
                left = [first.1, second.1];
            }
            let [run, beside] = runs;
            let rests = [[left[0].as_flattened(), one.1].concat(), [left[1].as_flattened(), other.1].concat()];
            prop_assert_eq!([run.finish(&rests[0]), beside.finish(&rests[1])], messages.map(|message| Sha256Digest::of(&message)));
        }
    }
}
