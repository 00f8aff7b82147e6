//! Maven packages from their source to real clients: three build nodes with different users, umasks, paths and times.

mod clients;
mod dissent;
mod faults;
mod library;
mod network;
mod requests;
mod tampering;
