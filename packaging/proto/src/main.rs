//! Generates crates/shim/src/api from api/*.proto; called by `make proto` from the top of the repository.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir("api")? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "proto") {
            files.push(path);
        }
    }
    files.sort();
    let definitions = protox::compile(&files, ["api"])?;
    prost_build::Config::new().out_dir("crates/shim/src/api").compile_fds(definitions)?;
    Ok(())
}
