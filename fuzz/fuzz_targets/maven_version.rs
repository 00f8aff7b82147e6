#![no_main]

pyrsia_fuzz::look_for!(pyrsia_registry::fuzz::MAVEN_VERSION);
