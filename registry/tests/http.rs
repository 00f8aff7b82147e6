//! The HTTP surface of a lone, real node: what clients and people get back, word for word.
//!
//! The node runs in this process on a temporary folder. The build pipeline is the outside world: a small HTTP server of the
//! test that has one image to give.

mod http {
    mod fixture;
    mod image;

    mod mistakes;
    mod network;
    mod pull;
}
