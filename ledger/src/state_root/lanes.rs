//! The numbers of the state root, and rows added to them: the key stream of ChaCha20 (RFC 8439, section 2.3) under a row's digest.
//!
//! Lanes stand by the word of its block that they come from, those of sixteen blocks side by side. So blocks of the stream are worked
//! out sixteen at a time, where the processor can, and added without being brought into another order first.
//!
//! ```text
//! words[half][word]: the word of block 16 * half + 0, + 1, … + 15; each word is two lanes, the lower half first
//! ```

use crate::digest::Sha256Digest;
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub(super) const LANES: usize = 1_024;
pub(super) const LANES_BYTES: usize = LANES * 2;
/// Words of a block of the key stream.
const WORDS: usize = 16;
/// Blocks that are worked out side by side.
const ABREAST: usize = 16;
const HALVES: usize = LANES_BYTES / (WORDS * ABREAST * size_of::<u32>());
/// The upper bit of each lane of a word.
const TOPS: u32 = 0x8000_8000;

type Words = [[[u32; ABREAST]; WORDS]; HALVES];

/// Whether a row joins the sum or leaves it.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    Plus,
    Minus,
}

#[derive(Clone)]
pub(super) struct Lanes(Box<Words>);

impl Default for Lanes {
    fn default() -> Self {
        Self(Box::new([[[0; ABREAST]; WORDS]; HALVES]))
    }
}

impl Lanes {
    /// Adds the key stream under `seed` lane by lane, or subtracts it.
    pub(super) fn add(&mut self, seed: &Sha256Digest, sign: Sign) {
        #[cfg(target_arch = "x86_64")]
        if abreast::is_supported() {
            #[expect(unsafe_code, reason = "that the processor has the instructions is known at run time only")]
            // SAFETY: it has them.
            unsafe {
                abreast::add(&mut self.0, seed, sign);
            }
            return;
        }
        self.add_block_by_block(seed, sign);
    }

    fn add_block_by_block(&mut self, seed: &Sha256Digest, sign: Sign) {
        let mut stream = [0; LANES_BYTES];
        ChaCha20Rng::from_seed(*seed.as_bytes()).fill_bytes(&mut stream);
        for (block, words) in stream.as_chunks::<4>().0.as_chunks::<WORDS>().0.iter().enumerate() {
            for (sums, word) in self.0[block / ABREAST].iter_mut().zip(words) {
                let (sum, word) = (&mut sums[block % ABREAST], u32::from_le_bytes(*word));
                // Nothing is carried from the lower lane to the upper one.
                *sum = match sign {
                    Sign::Plus => ((*sum & !TOPS) + (word & !TOPS)) ^ ((*sum ^ word) & TOPS),
                    Sign::Minus => ((*sum | TOPS) - (word & !TOPS)) ^ ((*sum ^ !word) & TOPS),
                };
            }
        }
    }

    /// Each lane as two bytes, in the order of the key stream.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let words = (0..HALVES * ABREAST).flat_map(|block| self.0[block / ABREAST].iter().map(move |sums| sums[block % ABREAST]));
        words.flat_map(u32::to_le_bytes).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8; LANES_BYTES]) -> Self {
        let mut lanes = Self::default();
        for (block, words) in bytes.as_chunks::<4>().0.as_chunks::<WORDS>().0.iter().enumerate() {
            for (sums, word) in lanes.0[block / ABREAST].iter_mut().zip(words) {
                sums[block % ABREAST] = u32::from_le_bytes(*word);
            }
        }
        lanes
    }
}

/// Sixteen blocks at a time, with AVX-512: less than half of the time that it takes to work out four.
#[cfg(target_arch = "x86_64")]
mod abreast {
    use super::{ABREAST, Sign, WORDS, Words};
    use crate::digest::Sha256Digest;
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
        _mm512_setzero_si512, _mm512_storeu_si512, _mm512_sub_epi16, _mm512_xor_si512,
    };

    /// "expand 32-byte k", the first words of a block.
    const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    const DOUBLE_ROUNDS: usize = 10;

    pub(super) fn is_supported() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn add(sums: &mut Words, seed: &Sha256Digest, sign: Sign) {
        for (first, sums) in (0..).step_by(ABREAST).zip(sums) {
            for (sums, stream) in sums.iter_mut().zip(blocks(seed, first)) {
                let sums: *mut __m512i = sums.as_mut_ptr().cast();
                #[expect(unsafe_code, reason = "there is no other way between an array and a register")]
                // SAFETY: these are the sixteen words of the array, and they may stand anywhere.
                unsafe {
                    let sum = _mm512_loadu_si512(sums);
                    let sum = match sign {
                        Sign::Plus => _mm512_add_epi16(sum, stream),
                        Sign::Minus => _mm512_sub_epi16(sum, stream),
                    };
                    _mm512_storeu_si512(sums, sum);
                }
            }
        }
    }

    /// The key stream from block `first` on, word by word.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn blocks(seed: &Sha256Digest, first: i32) -> [__m512i; WORDS] {
        let mut start = [_mm512_setzero_si512(); WORDS];
        let (key, _) = seed.as_bytes().as_chunks::<4>();
        let words = CONSTANTS.into_iter().chain(key.iter().map(|word| u32::from_le_bytes(*word)));
        for (start, word) in start.iter_mut().zip(words) {
            *start = _mm512_set1_epi32(word.cast_signed());
        }
        let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        start[12] = _mm512_add_epi32(numbers, _mm512_set1_epi32(first));
        let mut state = start;
        for _ in 0..DOUBLE_ROUNDS {
            quarter_round(&mut state, [0, 4, 8, 12]);
            quarter_round(&mut state, [1, 5, 9, 13]);
            quarter_round(&mut state, [2, 6, 10, 14]);
            quarter_round(&mut state, [3, 7, 11, 15]);
            quarter_round(&mut state, [0, 5, 10, 15]);
            quarter_round(&mut state, [1, 6, 11, 12]);
            quarter_round(&mut state, [2, 7, 8, 13]);
            quarter_round(&mut state, [3, 4, 9, 14]);
        }
        for (state, start) in state.iter_mut().zip(start) {
            *state = _mm512_add_epi32(*state, start);
        }
        state
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn quarter_round(state: &mut [__m512i; WORDS], [a, b, c, d]: [usize; 4]) {
        state[a] = _mm512_add_epi32(state[a], state[b]);
        state[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(state[d], state[a]));
        state[c] = _mm512_add_epi32(state[c], state[d]);
        state[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(state[b], state[c]));
        state[a] = _mm512_add_epi32(state[a], state[b]);
        state[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(state[d], state[a]));
        state[c] = _mm512_add_epi32(state[c], state[d]);
        state[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(state[b], state[c]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn however_the_stream_is_worked_out_the_lanes_are_the_same(rows in prop::collection::vec((any::<[u8; 32]>(), any::<bool>()), 0..6)) {
            let (mut lanes, mut slowly, mut expected) = (Lanes::default(), Lanes::default(), [0u16; LANES]);
            for (seed, joins) in rows {
                let (seed, sign) = (Sha256Digest::new(seed), if joins { Sign::Plus } else { Sign::Minus });
                lanes.add(&seed, sign);
                slowly.add_block_by_block(&seed, sign);
                let mut stream = [0; LANES_BYTES];
                ChaCha20Rng::from_seed(*seed.as_bytes()).fill_bytes(&mut stream);
                for (lane, row) in expected.iter_mut().zip(stream.as_chunks::<2>().0) {
                    let row = u16::from_le_bytes(*row);
                    *lane = if joins { lane.wrapping_add(row) } else { lane.wrapping_sub(row) };
                }
            }
            let expected: Vec<u8> = expected.iter().flat_map(|lane| lane.to_le_bytes()).collect();
            prop_assert_eq!(&lanes.to_bytes(), &expected);
            prop_assert_eq!(&slowly.to_bytes(), &expected);
            let again = Lanes::from_bytes(expected.as_slice().try_into().expect("as many as there are"));
            prop_assert_eq!(again.0, lanes.0);
        }
    }
}
