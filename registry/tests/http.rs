//! The HTTP surface of a lone, real node: what clients and people get back, word for word.
//!
//! The node runs in this process on a temporary folder. The build pipeline is the outside world: a small HTTP server of the
//! test that gives the same files to every build.

mod http {
    mod fixture;
    mod guest;
    mod image;
    mod pipeline;

    mod arriving;
    #[cfg(unix)]
    mod crowd;
    mod framing;
    mod maven;
    mod mistakes;
    mod monitoring;
    mod mount;
    mod network;
    mod pages;
    mod parts;
    mod proofs;
    mod pull;
    mod requests;
    mod search;
    mod stopping;
    mod storage;
    mod tiles;
}
