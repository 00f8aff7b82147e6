#![no_main]

pyrsia_fuzz::look_for!(pyrsia_node::fuzz::HEARING);
