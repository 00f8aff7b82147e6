//! Whole nodes, from the wish to the pulled image: every scenario with real processes.

mod clients;
