//! The main of one program; everything it does lives in its library.

fn main() -> std::process::ExitCode {
    websocket::main()
}
