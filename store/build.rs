//! The migrations are embedded when this crate is built, so it is built again when they change.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
