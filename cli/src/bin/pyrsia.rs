//! The program `pyrsia`.

fn main() -> std::process::ExitCode {
    pyrsia_cli::commands::main()
}
