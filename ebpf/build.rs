//! Compiles `c/bodkin.bpf.c` with clang into one CO-RE object and checks its structures against the Rust ones.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[allow(dead_code, unreachable_pub)]
#[path = "src/call.rs"]
mod call;
mod checks;
#[allow(dead_code, unreachable_pub)]
#[path = "src/event.rs"]
mod event;
#[allow(dead_code, unreachable_pub)]
#[path = "src/layout.rs"]
mod layout;

/// Compilers, the plain name first; the oldest that has every relocation used is 12.
const CLANG: [&str; 9] =
    ["clang", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];

const HINT: &str = "install clang and libbpf-dev, or run ./bodkin up which does";

fn main() {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-changed=src/event.rs");
    println!("cargo::rerun-if-changed=src/call.rs");
    println!("cargo::rerun-if-changed=src/layout.rs");
    println!("cargo::rerun-if-changed=checks.rs");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if let Err(problem) = build(&out) {
        println!("cargo::error={problem}");
    }
}

fn build(out: &Path) -> Result<(), String> {
    let checks = out.join("layout_check.h");
    std::fs::write(&checks, assertions()).map_err(|error| format!("write {}: {error}", checks.display()))?;
    let target = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let arch = match target.as_str() {
        "x86_64" => "-D__TARGET_ARCH_x86",
        "aarch64" => "-D__TARGET_ARCH_arm64",
        other => return Err(format!("the kernel programs know x86_64 and aarch64, not {other}")),
    };
    let clang = clang()?;
    let object = out.join("bodkin.bpf.o");
    let compiled = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", arch])
        .arg("-I")
        .arg(out)
        .args(["-c", "c/bodkin.bpf.c", "-o"])
        .arg(&object)
        .output()
        .map_err(|error| format!("{clang}: {error}; {HINT}"))?;
    if !compiled.status.success() {
        return Err(refused(&clang, &compiled));
    }
    // Debug information is three quarters of the object and of no use to the loader; BTF stays. Not having the tool is fine.
    let strip = clang.replace("clang", "llvm-strip");
    let _ = Command::new(strip).arg("-g").arg(&object).output();
    Ok(())
}

/// Says one line of what clang found wrong (a cargo error is one line), and what to do.
fn refused(clang: &str, compiled: &Output) -> String {
    let text = String::from_utf8_lossy(&compiled.stderr);
    let first = text.lines().find(|line| line.contains("error")).unwrap_or("no message");
    let hint = if text.contains("bpf/bpf_helpers.h") { format!("; {HINT}") } else { String::new() };
    format!("{clang} refuses the kernel programs: {first}{hint}")
}

fn clang() -> Result<String, String> {
    let chosen = env::var("CLANG").ok();
    let candidates = chosen.iter().map(String::as_str).chain(CLANG);
    for name in candidates {
        if Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(name.to_string());
        }
    }
    Err(format!("clang is missing, the kernel programs cannot be compiled; {HINT}"))
}

/// One `_Static_assert` for every field and constant that both sides know.
fn assertions() -> String {
    let mut text = String::from("// Made by build.rs from src/layout.rs and checks.rs.\n");
    for (expression, value) in checks::checks() {
        let _ = writeln!(text, "_Static_assert({expression} == {value}, \"{}\");", expression.replace('"', ""));
    }
    text
}
