//! What the end-to-end tests and the benchmarks stand on: Pyrsia's programs and the clients around them as real processes.
//!
//! Owns starting and ending those processes, making images and repositories to build from, and waiting for conditions.
//! Knows Pyrsia only through its programs, its HTTP interface and its files, and never imports a crate of ours.

pub mod brittle_wire;
pub mod clients;
pub mod containerd;
pub mod deadline;
pub mod engine;
pub mod fleet;
pub mod git;
pub mod image;
pub mod instant_pipeline;
pub mod maven;
pub mod maven_repository;
pub mod network;
pub mod object_storage;
pub mod program;
pub mod random;
pub mod relay;
pub mod service;
pub mod switch;
pub mod upstream;
