//! Whole nodes, from the wish to the pulled image: every scenario with real processes.

mod bad_requests;
mod checkpoint;
mod clients;
mod demo;
mod distribution_spec;
mod exports;
mod faults;
mod four_nodes;
mod images;
mod lists;
mod maven;
mod membership;
mod nat;
mod npm;
mod object_storage;
mod predecessor;
mod proofs;
mod tutorial;
