//! Many signatures checked at once.
//!
//! One multiplication over all of them costs about half of checking each, and a wrong one is then found by halving. The
//! coefficients of the sum come from a SHA-256 over the batch itself: whoever chose a signature to cancel another could not
//! know them before every byte of both was fixed, and two programs that check the same batch do exactly the same.
//! Under ZIP-215 a batch holds if and only if each of its signatures does.

use super::preimage::Preimage;
use super::{NetworkId, Purpose, Signature, SignedEvent, preimage, verdicts};
use crate::digest::Sha256Digest;
use crate::identity::NodeId;
use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature as ZebraSignature, VerificationKey, VerificationKeyBytes};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

/// Below this many, a batch costs more than its signatures one by one.
const BATCH_MIN: usize = 4;

/// That `author` signed a message: what a signature is checked against, without anything it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(super) author: NodeId,
    pub(super) signature: Signature,
    pub(super) preimage: Preimage,
}

impl Claim {
    pub fn new(author: NodeId, purpose: Purpose, network: &NetworkId, message: &[u8], signature: Signature) -> Self {
        Self::of_bytes(author, preimage(purpose, network, message), signature)
    }

    /// Of bytes that say themselves what they are for.
    pub(crate) fn of_bytes(author: NodeId, preimage: Vec<u8>, signature: Signature) -> Self {
        Self { author, signature, preimage: Preimage::Own(preimage) }
    }

    /// Of an event, the unsigned part of which stands at this place in a block.
    pub(crate) fn of_event(signed: &SignedEvent, block: &Arc<Vec<u8>>, unsigned: Range<usize>) -> Self {
        let preimage = Preimage::OfEvent { network: signed.unsigned.network, block: block.clone(), unsigned };
        Self { author: signed.unsigned.author, signature: signed.signature, preimage }
    }

    pub fn author(&self) -> NodeId {
        self.author
    }

    /// Verifies this one under ZIP-215.
    pub fn holds(&self) -> bool {
        verdicts::recall(self, || {
            let Ok(key) = VerificationKey::try_from(*self.author.public_key()) else { return false };
            key.verify(&ZebraSignature::from_bytes(self.signature.as_bytes()), self.preimage.bytes(&mut vec![])).is_ok()
        })
    }

    fn item(&self, preimage: &[u8]) -> Item {
        let signature = ZebraSignature::from_bytes(self.signature.as_bytes());
        (VerificationKeyBytes::from(*self.author.public_key()), signature, preimage).into()
    }
}

/// The positions of the claims that do not hold, in ascending order.
pub fn wrong_claims<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Vec<usize> {
    let claims: Vec<&Claim> = claims.into_iter().collect();
    let mut wrong = vec![];
    search(&claims, 0, &mut wrong);
    wrong
}

/// The position of the first claim that does not hold. Costs no more than twice a batch of them all, however many are wrong.
pub fn first_wrong_claim<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Option<usize> {
    let claims: Vec<&Claim> = claims.into_iter().collect();
    if hold(&claims) {
        return None;
    }
    let (mut rest, mut offset) = (claims.as_slice(), 0);
    while !is_small(rest) {
        let (left, right) = rest.split_at(rest.len() / 2);
        if hold(left) {
            // Then the wrong one is among these.
            (rest, offset) = (right, offset + left.len());
        } else {
            rest = left;
        }
    }
    rest.iter().position(|claim| !claim.holds()).map(|at| offset + at)
}

/// Whether all claims hold: a wrong one among many is noticed, and not looked for.
pub(super) fn hold(claims: &[&Claim]) -> bool {
    if is_small(claims) { claims.iter().all(|claim| claim.holds()) } else { all_hold(claims) }
}

/// Whether a batch of them costs more than one after the other.
fn is_small(claims: &[&Claim]) -> bool {
    // One by one, those that are known cost nothing; both ways give the same answer.
    claims.len() < BATCH_MIN || verdicts::are_remembered()
}

fn search(claims: &[&Claim], offset: usize, wrong: &mut Vec<usize>) {
    if is_small(claims) {
        wrong.extend(claims.iter().enumerate().filter(|(_, claim)| !claim.holds()).map(|(at, _)| offset + at));
        return;
    }
    if all_hold(claims) {
        return;
    }
    let (left, right) = claims.split_at(claims.len() / 2);
    search(left, offset, wrong);
    search(right, offset + left.len(), wrong);
}

fn all_hold(claims: &[&Claim]) -> bool {
    let (mut batch, mut room) = (Verifier::new(), vec![]);
    let mut seed = Sha256::new_with_prefix(b"pyrsia/signature-batch/v1\0");
    seed.update((claims.len() as u64).to_le_bytes());
    for claim in claims {
        let preimage = claim.preimage.bytes(&mut room);
        seed.update(claim.author.public_key());
        seed.update(claim.signature.as_bytes());
        seed.update((preimage.len() as u64).to_le_bytes());
        seed.update(preimage);
        batch.queue(claim.item(preimage));
    }
    let coefficients = Coefficients { seed: Sha256Digest::new(seed.finalize().into()), counter: 0 };
    batch.verify(coefficients).is_ok()
}

/// SHA-256 in counter mode over a digest of the batch.
struct Coefficients {
    seed: Sha256Digest,
    counter: u64,
}

impl Coefficients {
    fn next(&mut self) -> Sha256Digest {
        self.counter += 1;
        Sha256Digest::of_parts(&[self.seed.as_bytes(), &self.counter.to_le_bytes()])
    }
}

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            chunk.copy_from_slice(&self.next().as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// What it must be for a batch: nobody can predict it before the batch is fixed.
impl TryCryptoRng for Coefficients {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::{node_id_of, sign};
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    fn claims(count: usize) -> Vec<Claim> {
        let network = NetworkId::UNFOUNDED;
        let claim = |at: usize| {
            let key = SigningKey::from_bytes(&[(at % 3) as u8 + 1; 32]);
            let message = at.to_le_bytes();
            let signature = sign(&key, Purpose::Event, &network, &message);
            Claim::new(node_id_of(&key), Purpose::Event, &network, &message, signature)
        };
        (0..count).map(claim).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn exactly_the_wrong_ones_of_a_batch_are_named(count in 0usize..40, wrong in prop::collection::btree_set(0usize..40, 0..4), byte in 0usize..64) {
            let mut claims = claims(count);
            let wrong: Vec<usize> = wrong.into_iter().filter(|at| *at < count).collect();
            for at in &wrong {
                let mut bytes = *claims[*at].signature.as_bytes();
                bytes[byte] ^= 1;
                claims[*at].signature = Signature::from_bytes(bytes);
            }
            prop_assert_eq!(hold(&claims.iter().collect::<Vec<_>>()), wrong.is_empty());
            prop_assert_eq!(first_wrong_claim(&claims), wrong.first().copied());
            prop_assert_eq!(wrong_claims(&claims), wrong);
        }
    }

    #[test]
    fn two_wrong_signatures_that_cancel_out_are_both_found() {
        // s and s' shifted by the same amount in opposite directions: the plain sum over both is what it was.
        let mut claims = claims(8);
        let shift = |claim: &mut Claim, up: bool| {
            let mut bytes = *claim.signature.as_bytes();
            bytes[32] = if up { bytes[32].wrapping_add(1) } else { bytes[32].wrapping_sub(1) };
            claim.signature = Signature::from_bytes(bytes);
        };
        shift(&mut claims[0], true);
        shift(&mut claims[3], false);
        assert_eq!(wrong_claims(&claims), [0, 3]);
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_wrong_and_does_not_hide_others() {
        let mut claims = claims(9);
        let no_point = (0..=255u8).map(|byte| NodeId::from_public_key([byte; 32])).find(|node| node.check().is_err());
        claims[4].author = NodeId::from_public_key([0x02; 32]);
        claims[5].author = no_point.expect("not every string of bytes is a point");
        claims[7].signature = Signature::from_bytes([0xff; 64]);
        assert_eq!(wrong_claims(&claims), [4, 5, 7]);
    }

    /// The small-order vectors on which other libraries disagree between single and batch: ZIP-215 accepts both ways.
    #[test]
    fn single_and_batch_agree_on_keys_and_points_of_small_order() {
        let small_order = [[0u8; 32], {
            let mut identity = [0; 32];
            identity[0] = 1;
            identity
        }];
        let mut all = claims(6);
        for (a, r) in small_order.iter().flat_map(|a| small_order.iter().map(move |r| (a, r))) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            all.push(Claim::new(
                NodeId::from_public_key(*a),
                Purpose::Vote,
                &NetworkId::UNFOUNDED,
                b"small",
                Signature::from_bytes(signature),
            ));
        }
        let singles: Vec<usize> = (0..all.len()).filter(|at| !all[*at].holds()).collect();
        assert_eq!(wrong_claims(&all), singles);
        assert!(singles.is_empty(), "ZIP-215 accepts points of small order");
    }
}
