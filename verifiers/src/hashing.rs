//! The hashers of one call: digests under way in the host, for what never lies in the component's memory as a whole.
//!
//! A component holds handles that the engine checks: one it made up, closed or used up is a trap.

use sha2::{Digest, Sha256};
use wasmtime::component::{Resource, ResourceTable};

use crate::call::{Call, broken};
use crate::contract::pyrsia::verifier::hashing;
use crate::limits;

/// One digest under way.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct HasherState(Sha256);

#[derive(Default)]
pub(crate) struct Hashers {
    table: ResourceTable,
    count: usize,
}

impl Hashers {
    fn take(&mut self, hasher: Resource<HasherState>) -> wasmtime::Result<HasherState> {
        let state = self.table.delete(hasher)?;
        self.count -= 1;
        Ok(state)
    }
}

impl hashing::Host for Call {}

impl hashing::HostHasher for Call {
    fn new(&mut self) -> wasmtime::Result<Resource<HasherState>> {
        self.charge_made(0)?;
        if self.hashers.count >= limits::HASHERS_MAX {
            return Err(broken(format!("more than {} hashers at a time", limits::HASHERS_MAX)));
        }
        self.hashers.count += 1;
        Ok(self.hashers.table.push(HasherState(Sha256::new()))?)
    }

    fn update(&mut self, hasher: Resource<HasherState>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        self.charge_made(bytes.len() as u64)?;
        self.hashers.table.get_mut(&hasher)?.0.update(&bytes);
        Ok(())
    }

    fn update_from(&mut self, hasher: Resource<HasherState>, file: u32, offset: u64, len: u64) -> wasmtime::Result<()> {
        let mut state = self.hashers.table.get(&hasher)?.0.clone();
        self.hash_range(&mut state, file, offset, len)?;
        self.hashers.table.get_mut(&hasher)?.0 = state;
        Ok(())
    }

    fn finish(&mut self, hasher: Resource<HasherState>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.hashers.take(hasher)?.0.finalize().to_vec())
    }

    fn drop(&mut self, hasher: Resource<HasherState>) -> wasmtime::Result<()> {
        self.hashers.take(hasher).map(drop)
    }
}
