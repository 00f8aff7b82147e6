//! The program `pyrsia_node`.

fn main() -> std::process::ExitCode {
    pyrsia_cli::node_program::main()
}
