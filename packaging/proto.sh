#!/usr/bin/env bash
# The messages of api/*.proto as Rust (crates/shim/src/api) and as Python tables (src/stockade/runtime).
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_TARGET_DIR=target/proto cargo run --quiet --manifest-path packaging/proto/Cargo.toml
cargo fmt --all
.venv/bin/python packaging/proto_tables.py
