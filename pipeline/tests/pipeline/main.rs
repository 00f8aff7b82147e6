//! The service as its clients see it: started in the test's process on a free port and a folder of its own, asked over
//! HTTP, fed by real git repositories, a real registry where one is installed, and hand-made registries that misbehave.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod durability;
mod engine;
mod faults;
mod fixture;
mod http_api;
mod import;
mod mapping;
mod maven;
mod maven_network;
mod npm;
mod program;
mod program_end;
mod registry;
mod source;
mod upstream;
