//! The main of one program; everything it does lives in its library.

#[global_allocator]
static HEAP: sys::Arena = sys::Arena;

fn main() -> std::process::ExitCode {
    shim::main()
}
