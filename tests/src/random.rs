//! Chance that a test can repeat: SplitMix64, one number decides everything.

/// Every test that uses it prints its seed, and takes another from `PYRSIA_TEST_SEED`.
pub struct Random(u64);

impl Random {
    /// The seed of the environment, or else this one; says which.
    pub fn seeded(test: &str, default: u64) -> Self {
        let given = std::env::var("PYRSIA_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(default);
        println!("{test}: PYRSIA_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("a usize fits");
        usize::try_from(self.number() % bound).expect("it is below a usize")
    }
}
