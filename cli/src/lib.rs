//! The programs: `pyrsia` (asks a node), `pyrsia_node` (is one), and the demo, which wires a whole network together.
//!
//! Owns command lines, environment variables, the CLI's own settings file, what is printed, and exit codes. It holds no
//! rule of the network: a command is one or a few requests to a node, and a node program is other rooms put together.

pub mod arguments;
pub mod commands;
pub mod exit;
pub mod outputs;
pub mod settings;
pub mod size;
pub mod terminal;

pub mod admin_token;
pub mod node_client;

pub mod logging;
pub mod node_program;
pub mod open_files;
pub mod traces;

pub mod demo;
