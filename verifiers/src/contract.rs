//! The contract's version 1 as Rust, generated from `wit/v1`.

wasmtime::component::bindgen!({
    world: "verifier",
    path: "../wit/v1",
    imports: { default: trappable },
});

/// All that a component may import.
pub(crate) const OFFERED_IMPORTS: [&str; 2] = ["pyrsia:verifier/inputs@1.0.0", "pyrsia:verifier/log@1.0.0"];
