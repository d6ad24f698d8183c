//! Links `runner-cpu` statically where this machine has static C libraries.
//!
//! Every job is a process of its own, and most of what a small one costs is the dynamic linker:
//! 1.07 ms of processor time with it, 0.52 ms without. Cargo's stable ways to ask for this
//! (`-C target-feature=+crt-static`) are for a whole build, and the worker has to stay dynamic for
//! the C library's resolver. So the linker is handed scripts that stand for the shared libraries
//! which rustc names, and lead to the static ones; all of its other arguments stay as they are.

use std::{env, fs, io, path::PathBuf, process::Command};

/// The C libraries that rustc names for a dynamic executable of this target.
const NAMED: [&str; 7] = ["c", "dl", "gcc_s", "m", "pthread", "rt", "util"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CC");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|set| set == value);
    if !(is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu"))
        || env::var("HOST") != env::var("TARGET")
        || env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.contains("crt-static"))
    {
        return Ok(());
    }
    let Some(libraries) = NAMED.iter().map(|name| stands_for(name)).collect::<Option<Vec<_>>>()
    else {
        println!(
            "cargo::warning=no static C library here: runner-cpu is linked dynamically, and starts slower"
        );
        return Ok(());
    };
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for (name, script) in NAMED.iter().zip(libraries) {
        fs::write(folder.join(format!("lib{name}.so")), script)?;
    }
    for argument in [format!("-L{}", folder.display()), "-static".into(), "-no-pie".into()] {
        println!("cargo::rustc-link-arg-bin=runner-cpu={argument}");
    }
    Ok(())
}

/// The linker script for a library: its static form. The C library and the unwinder need each
/// other.
fn stands_for(name: &str) -> Option<String> {
    let all: &[&str] = match name {
        "c" | "gcc_s" => &["libc.a", "libgcc_eh.a", "libgcc.a"],
        "m" => &["libm.a"],
        // Parts of the C library since glibc 2.34.
        _ => &[],
    };
    let own = format!("lib{name}.a");
    let files = if all.is_empty() { &[own.as_str()] } else { all };
    let paths: Option<Vec<String>> = files.iter().map(|file| find(file)).collect();
    Some(format!("GROUP({})\n", paths?.join(" ")))
}

/// Where the C compiler finds a library.
fn find(file: &str) -> Option<String> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(compiler).arg(format!("-print-file-name={file}")).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    PathBuf::from(&path).is_absolute().then_some(path)
}
