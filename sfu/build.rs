//! Builds the page (`web/`) and embeds it, so that the program is the whole product.
//!
//! Texts are embedded in gzip as well, packed once here instead of for each browser.
//!
//! Needs Node and npm. `CALLS_PAGE_DIR` names a page that is built already, for machines without them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    println!("cargo::rerun-if-env-changed=CALLS_PAGE_DIR");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let page = match env::var_os("CALLS_PAGE_DIR") {
        Some(built) => PathBuf::from(built),
        None => build_page(&out),
    };
    let mut files = Vec::new();
    collect(&page, &mut files);
    files.sort();
    assert!(files.iter().any(|file| file.ends_with("index.html")), "{} holds no index.html", page.display());
    let mut code = String::from("static FILES: &[File] = &[\n");
    for file in &files {
        let name = file.strip_prefix(&page).expect("collected below it").display().to_string();
        let full = file.display().to_string();
        let gzip = match packed(file, &out.join("gzip").join(&name)) {
            Some(packed) => format!("Some(include_bytes!({:?}))", packed.display().to_string()),
            None => String::from("None"),
        };
        writeln!(code, "    File {{ path: {name:?}, content: include_bytes!({full:?}), gzip: {gzip} }},")
            .expect("a String takes it");
    }
    code.push_str("];\n");
    fs::write(out.join("page_files.rs"), code).expect("OUT_DIR is writable");
}

/// Writes a file in gzip to `target`; nothing where that saves less than a tenth.
fn packed(file: &Path, target: &Path) -> Option<PathBuf> {
    let content = fs::read(file).expect("the built page is readable");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&content).expect("a Vec takes it");
    let gzip = encoder.finish().expect("a Vec takes it");
    if gzip.len() * 10 > content.len() * 9 {
        return None;
    }
    fs::create_dir_all(target.parent().expect("a file lies in a folder")).expect("OUT_DIR is writable");
    fs::write(target, gzip).expect("OUT_DIR is writable");
    Some(target.to_path_buf())
}

fn build_page(out: &Path) -> PathBuf {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../web");
    for watched in
        ["src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts", "tsconfig.json"]
    {
        if root.join(watched).exists() {
            println!("cargo::rerun-if-changed={}", root.join(watched).display());
        }
    }
    // Built in a copy: a build script writes nowhere but its own folder, and two profiles may build at once.
    let copy = out.join("web");
    copy_sources(&root, &copy);
    let modules = copy.join("node_modules");
    let lock = fs::read(root.join("package-lock.json")).expect("web/package-lock.json is there");
    let installed = copy.join("installed-lock.json");
    if !modules.exists() || fs::read(&installed).ok().as_deref() != Some(&lock) {
        npm(&copy, &["ci", "--no-audit", "--no-fund"]);
        fs::write(&installed, &lock).expect("OUT_DIR is writable");
    }
    let page = out.join("page");
    let target = page.display().to_string();
    npm(&copy, &["run", "build", "--", "--outDir", &target, "--emptyOutDir"]);
    page
}

fn npm(folder: &Path, arguments: &[&str]) {
    let output = Command::new("npm").args(arguments).current_dir(folder).output().unwrap_or_else(|error| {
        panic!("failed to run npm ({error}); install Node 20 or newer, or set CALLS_PAGE_DIR to a built page")
    });
    assert!(
        output.status.success(),
        "npm {} failed:\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn copy_sources(from: &Path, to: &Path) {
    // What was there before and is no longer must not be built in; the installed modules may stay.
    for stale in ["src", "public"] {
        let _ = fs::remove_dir_all(to.join(stale));
    }
    fs::create_dir_all(to).expect("OUT_DIR is writable");
    for entry in fs::read_dir(from).expect("web/ is there") {
        let entry = entry.expect("web/ is readable");
        let name = entry.file_name();
        if name == "node_modules" || name == "dist" {
            continue;
        }
        if entry.path().is_dir() {
            copy_sources(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).expect("OUT_DIR is writable");
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the built page is readable") {
        let path = entry.expect("the built page is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
