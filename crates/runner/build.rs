//! Lists the files of the Python package, so that `sdk.rs` can carry them in the binary.
//!
//! Not a macro over the folder: that would carry `__pycache__` too, and would not notice a new file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let source = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?)
        .join("../../python/cresset/src");
    let mut files = Vec::new();
    collect(&source, &mut files)
        .map_err(|e| io::Error::other(format!("the Python package {}: {e}", source.display())))?;
    files.sort();
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("sdk_files.rs");
    let mut out = io::BufWriter::new(fs::File::create(out)?);
    writeln!(out, "&[")?;
    for path in files {
        let name = path.strip_prefix(&source).map_err(io::Error::other)?;
        writeln!(
            out,
            "    ({:?}, include_bytes!({:?})),",
            name.display(),
            path.display()
        )?;
    }
    writeln!(out, "]")?;
    out.flush()
}

/// Every file of the package except what Python and packaging leave behind.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    // Cargo compares the folder's time stamp: a file that comes or goes is noticed.
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "__pycache__" && !name.ends_with(".egg-info") && !name.starts_with('.') {
                collect(&path, files)?;
            }
        } else if !name.ends_with(".pyc") && !name.starts_with('.') {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}
