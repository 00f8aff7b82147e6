//! Two SHA-256 digests (FIPS 180-4) worked out in step: one alone waits for each of its own results, and leaves half of the processor idle.

use super::running::BLOCK_BYTES;

/// A message: what begins it, and the rest.
pub(super) type Message<'a> = [&'a [u8]; 2];

/// The digests of both, where the processor has the instructions.
pub(super) fn digests(messages: [Message<'_>; 2]) -> Option<[[u8; 32]; 2]> {
    #[cfg(target_arch = "x86_64")]
    if abreast::is_supported() {
        #[expect(unsafe_code, reason = "that the processor has the instructions is known at run time only")]
        // SAFETY: it has them.
        return Some(unsafe { abreast::digests(messages) });
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = messages;
    None
}

/// Goes on with two digests by as many blocks of each; false, and nothing is done, where the processor lacks the instructions.
pub(super) fn compress(words: [&mut [u32; 8]; 2], blocks: [&[[u8; BLOCK_BYTES]]; 2]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if abreast::is_supported() {
        #[expect(unsafe_code, reason = "that the processor has the instructions is known at run time only")]
        // SAFETY: it has them.
        unsafe {
            abreast::compress_all(words, blocks);
        }
        return true;
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (words, blocks);
    false
}

#[cfg(target_arch = "x86_64")]
mod abreast {
    use super::super::running::{BLOCK_BYTES, START};
    use super::Message;
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
    };

    /// Behind a message stand a one bit and, at the end of the last block, its length.
    const PADDING_BYTES_MIN: usize = 1 + size_of::<u64>();
    #[rustfmt::skip]
    const ROUNDS: [u32; 64] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ];

    pub(super) fn is_supported() -> bool {
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
    }

    fn length([beginning, rest]: Message<'_>) -> usize {
        beginning.len() + rest.len()
    }

    fn block_count(message: Message<'_>) -> usize {
        (length(message) + PADDING_BYTES_MIN).div_ceil(BLOCK_BYTES)
    }

    /// Block `number` of a padded message, put together in `room` unless it stands somewhere as it is.
    fn block<'a>(message: Message<'a>, number: usize, room: &'a mut [u8; BLOCK_BYTES]) -> &'a [u8; BLOCK_BYTES] {
        let ([beginning, rest], start, length) = (message, number * BLOCK_BYTES, length(message));
        let whole = start.checked_sub(beginning.len()).and_then(|start| rest.get(start..)?.first_chunk());
        if let Some(block) = whole {
            return block;
        }
        *room = [0; BLOCK_BYTES];
        let first = beginning.get(start..).unwrap_or_default();
        let first = &first[..first.len().min(BLOCK_BYTES)];
        room[..first.len()].copy_from_slice(first);
        let second = rest.get((start + first.len()).saturating_sub(beginning.len())..).unwrap_or_default();
        let second = &second[..second.len().min(BLOCK_BYTES - first.len())];
        room[first.len()..first.len() + second.len()].copy_from_slice(second);
        if let Some(end) = length.checked_sub(start).filter(|end| *end < BLOCK_BYTES) {
            room[end] = 0x80;
        }
        if number + 1 == block_count(message) {
            let bits = 8 * length as u64;
            room[BLOCK_BYTES - size_of::<u64>()..].copy_from_slice(&bits.to_be_bytes());
        }
        room
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn digests(messages: [Message<'_>; 2]) -> [[u8; 32]; 2] {
        let counts = messages.map(block_count);
        let mut rooms = [[0; BLOCK_BYTES]; 2];
        let mut states = [state_of(&START); 2];
        let in_step = counts[0].min(counts[1]);
        for number in 0..in_step {
            let [first, second] = &mut rooms;
            compress(&mut states, [block(messages[0], number, first), block(messages[1], number, second)]);
        }
        for (message, state) in [0, 1].into_iter().zip(&mut states) {
            for number in in_step..counts[message] {
                let mut alone = [*state];
                compress(&mut alone, [block(messages[message], number, &mut rooms[message])]);
                *state = alone[0];
            }
        }
        [finish(states[0]), finish(states[1])]
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn compress_all(words: [&mut [u32; 8]; 2], blocks: [&[[u8; BLOCK_BYTES]]; 2]) {
        let mut states = words.each_ref().map(|words| state_of(words));
        for (first, second) in blocks[0].iter().zip(blocks[1]) {
            compress(&mut states, [first, second]);
        }
        for (words, state) in words.into_iter().zip(states) {
            for (word, bytes) in words.iter_mut().zip(finish(state).as_chunks().0) {
                *word = u32::from_be_bytes(*bytes);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn load<T>(from: &[T], index: usize) -> __m128i {
        let bytes = size_of::<__m128i>();
        assert!((index + 1) * bytes <= size_of_val(from));
        #[expect(unsafe_code, reason = "there is no other way between an array and a register")]
        // SAFETY: so many bytes are there, and they may stand anywhere.
        unsafe {
            _mm_loadu_si128(from.as_ptr().cast::<__m128i>().add(index))
        }
    }

    /// The words a to h in the order of the instructions: f, e, b, a and h, g, d, c.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn state_of(words: &[u32; 8]) -> [__m128i; 2] {
        let (badc, hgfe) = (_mm_shuffle_epi32::<0xb1>(load(words, 0)), _mm_shuffle_epi32::<0x1b>(load(words, 1)));
        [_mm_alignr_epi8::<8>(badc, hgfe), _mm_blend_epi16::<0xf0>(hgfe, badc)]
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn finish([feba, hgdc]: [__m128i; 2]) -> [u8; 32] {
        let (abef, dchg) = (_mm_shuffle_epi32::<0x1b>(feba), _mm_shuffle_epi32::<0xb1>(hgdc));
        let (abcd, efgh) = (_mm_blend_epi16::<0xf0>(abef, dchg), _mm_alignr_epi8::<8>(dchg, abef));
        let mut digest = [0; 32];
        let [first, second] = [in_bytes(abcd), in_bytes(efgh)];
        digest[..16].copy_from_slice(&first);
        digest[16..].copy_from_slice(&second);
        digest
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn in_bytes(words: __m128i) -> [u8; 16] {
        let mut bytes = [0u8; 16];
        #[expect(unsafe_code, reason = "there is no other way between an array and a register")]
        // SAFETY: sixteen bytes, which may stand anywhere.
        unsafe {
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), big_endian(words));
        }
        bytes
    }

    /// Turns the bytes of each word round.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn big_endian(words: __m128i) -> __m128i {
        _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203))
    }

    /// One block of each message (section 6.2.2), four rounds of each in turn.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn compress<const N: usize>(states: &mut [[__m128i; 2]; N], blocks: [&[u8; BLOCK_BYTES]; N]) {
        let before = *states;
        let mut words = [[_mm_setzero_si128(); 4]; N];
        for (words, block) in words.iter_mut().zip(blocks) {
            for (index, words) in words.iter_mut().enumerate() {
                *words = big_endian(load(block, index));
            }
        }
        for sixteen in 0..4 {
            for four in 0..4 {
                for (state, words) in states.iter_mut().zip(&mut words) {
                    let sum = _mm_add_epi32(words[four], load(&ROUNDS, 4 * sixteen + four));
                    state[1] = _mm_sha256rnds2_epu32(state[1], state[0], sum);
                    state[0] = _mm_sha256rnds2_epu32(state[0], state[1], _mm_shuffle_epi32::<0x0e>(sum));
                    if sixteen < 3 {
                        let [t0, t1, t2, t3] = std::array::from_fn(|index| words[(four + index) % 4]);
                        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(t0, t1), _mm_alignr_epi8::<4>(t3, t2));
                        words[four] = _mm_sha256msg2_epu32(sum, t3);
                    }
                }
            }
        }
        for (state, before) in states.iter_mut().zip(before) {
            for (words, before) in state.iter_mut().zip(before) {
                *words = _mm_add_epi32(*words, before);
            }
        }
    }
}
