#![no_main]

pyrsia_fuzz::look_for!(pyrsia_ledger::fuzz::NAME);
