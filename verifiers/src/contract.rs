//! The contract's version 1 as Rust, generated from `wit/v1`.

wasmtime::component::bindgen!({
    world: "verifier",
    path: "../wit/v1",
    imports: { default: trappable },
    with: { "pyrsia:verifier/hashing.hasher": crate::hashing::HasherState },
});

/// All that a component may import.
pub(crate) const OFFERED_IMPORTS: [&str; 3] =
    ["pyrsia:verifier/inputs@1.0.0", "pyrsia:verifier/hashing@1.0.0", "pyrsia:verifier/log@1.0.0"];
/// What a component of any version exports, before the number.
pub(crate) const EXPORT: &str = "pyrsia:verifier/verification@";
/// The version of this contract.
pub(crate) const VERSION: &str = "1.0.0";
