//! Images made without an engine: a docker-archive with two layers, written by hand.
//!
//! The lower layer is what any of our programs needs (loader, libraries, certificate authorities, a user), the upper the
//! program. The same files give the same bytes, and the tag is their digest: an image is imported once, and a pod is
//! replaced exactly when its program changed.
//!
//! Programs are the ordinary ones Cargo built, with the machine's own loader and libraries beside them: linking them
//! statically would compile every dependency a second time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::binaries::hexadecimal;
use crate::command::{command, output};

/// Who programs run as: nobody in particular, and not root.
const USER: u32 = 65532;

/// Images of the product are called this and the program's name.
const PREFIX: &str = "localhost/";

/// The image of a pod's sandbox, and of pods in tests of the cluster itself.
const BUSYBOX: &str = "localhost/busybox";

/// The machine's certificate authorities, which a program that talks TLS to the world needs.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image in an archive.
#[derive(Clone, Debug)]
pub struct Image {
    /// What a pod calls it.
    pub reference: String,
    /// The docker-archive.
    pub archive: PathBuf,
}

/// A file of a layer, by its path in the image.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, content: Vec<u8> },
}

/// A layer: paths without a leading slash.
type Layer = BTreeMap<String, Entry>;

/// What an image is started with.
#[derive(Debug)]
struct Config<'a> {
    entrypoint: Vec<String>,
    user: String,
    title: &'a str,
    description: &'a str,
}

/// Makes the image of one of our programs; an archive that is there already is kept, older ones of it are removed.
pub fn of_program(folder: &Path, name: &str, program: &Path) -> Result<Image> {
    let path = format!("usr/bin/{name}");
    let content = fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
    let mut upper = Layer::new();
    upper.insert(path.clone(), Entry::File { mode: 0o755, content });
    let config = Config {
        entrypoint: vec![format!("/{path}")],
        user: format!("{USER}:{USER}"),
        title: name,
        description: "A part of the calls operator",
    };
    write(folder, &format!("{PREFIX}{name}"), &[lower_layer(program)?, upper], &config)
}

/// Makes an image of Debian's static busybox, which sleeps unless told otherwise.
pub fn busybox(folder: &Path) -> Result<Image> {
    let content = fs::read("/bin/busybox").context("failed to read /bin/busybox")?;
    let mut layer = Layer::new();
    layer.insert("bin/busybox".to_owned(), Entry::File { mode: 0o755, content });
    layer.insert("tmp".to_owned(), Entry::Folder { mode: 0o1777 });
    let config = Config {
        entrypoint: ["/bin/busybox", "sleep", "2147483647"].map(ToOwned::to_owned).to_vec(),
        user: format!("{USER}:{USER}"),
        title: "busybox",
        description: "Debian's busybox, to hold a pod's sandbox",
    };
    write(folder, BUSYBOX, &[layer], &config)
}

/// Whether an image is one of our programs.
pub fn is_product(reference: &str) -> bool {
    reference.starts_with("localhost/calls-")
}

/// What any of our programs needs beside it: what `program` is linked with, and a few files.
fn lower_layer(program: &Path) -> Result<Layer> {
    let mut layer = Layer::new();
    let text = |content: &str| Entry::File { mode: 0o644, content: content.into() };
    layer.insert("tmp".to_owned(), Entry::Folder { mode: 0o1777 });
    layer.insert("etc/passwd".to_owned(), text(&format!("calls:x:{USER}:{USER}:calls:/tmp:/sbin/nologin\n")));
    layer.insert("etc/group".to_owned(), text(&format!("calls:x:{USER}:\n")));
    layer.insert("etc/nsswitch.conf".to_owned(), text("hosts: files dns\n"));
    let authorities = fs::read(AUTHORITIES).unwrap_or_default();
    layer.insert(AUTHORITIES.trim_start_matches('/').to_owned(), Entry::File { mode: 0o644, content: authorities });
    for library in linked_libraries(&output(&mut command("ldd", [program]))?) {
        let content = fs::read(&library).with_context(|| format!("failed to read {library}"))?;
        layer.insert(library.trim_start_matches('/').to_owned(), Entry::File { mode: 0o755, content });
    }
    Ok(layer)
}

/// The paths in what `ldd` wrote: `name => path (address)`, or `path (address)` for the loader.
fn linked_libraries(ldd: &str) -> Vec<String> {
    let path = |line: &str| {
        let found = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = found.split_whitespace().next()?;
        path.starts_with('/').then(|| path.to_owned())
    };
    ldd.lines().filter_map(path).collect()
}

/// Writes the archive `NAME-TAG.tar` and removes those of other tags.
fn write(folder: &Path, name: &str, layers: &[Layer], config: &Config<'_>) -> Result<Image> {
    let layers: Vec<Vec<u8>> = layers.iter().map(layer_bytes).collect::<Result<_>>()?;
    let digests: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = serde_json::to_vec(&config_json(config, &digests))?;
    let config_digest = sha256(&config);
    let tag = &config_digest[..12];
    let reference = format!("{name}:{tag}");
    let file_name = name.trim_start_matches(PREFIX);
    let archive = folder.join(format!("{file_name}-{tag}.tar"));
    fs::create_dir_all(folder)?;
    if !archive.exists() {
        let unfinished = archive.with_extension("unfinished");
        let mut tar = Builder::new(File::create(&unfinished)?);
        append(&mut tar, &format!("{config_digest}.json"), 0o644, &config)?;
        for (digest, layer) in digests.iter().zip(&layers) {
            append(&mut tar, &format!("{digest}/layer.tar"), 0o644, layer)?;
        }
        let names: Vec<String> = digests.iter().map(|digest| format!("{digest}/layer.tar")).collect();
        let manifest = json!([{"Config": format!("{config_digest}.json"), "RepoTags": [reference], "Layers": names}]);
        append(&mut tar, "manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
        tar.into_inner()?.sync_all()?;
        fs::rename(unfinished, &archive)?;
    }
    remove_others(folder, file_name, &archive)?;
    Ok(Image { reference, archive })
}

fn config_json(config: &Config<'_>, layers: &[String]) -> Value {
    let labels = json!({
        "org.opencontainers.image.title": config.title,
        "org.opencontainers.image.description": config.description,
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
    });
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": config.entrypoint,
            "User": config.user,
            "Env": ["PATH=/usr/bin:/bin", format!("SSL_CERT_FILE={AUTHORITIES}")],
            "WorkingDir": "/tmp",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| format!("sha256:{layer}")).collect::<Vec<_>>()},
    })
}

fn layer_bytes(layer: &Layer) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, entry) in layer {
        match entry {
            Entry::Folder { mode } => {
                let mut header = header(*mode, 0);
                header.set_entry_type(EntryType::Directory);
                tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Entry::File { mode, content } => append(&mut tar, path, *mode, content)?,
        }
    }
    Ok(tar.into_inner()?)
}

fn append<W: std::io::Write>(tar: &mut Builder<W>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(mode, content.len() as u64);
    Ok(tar.append_data(&mut header, path, content)?)
}

/// Times and owners that say nothing, so that the same files give the same bytes.
fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest(&SHA256, bytes).as_ref())
}

fn remove_others(folder: &Path, name: &str, kept: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if stem.rsplit_once('-').is_some_and(|(other, _)| other == name) && path != kept {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_read_from_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(linked_libraries(ldd), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn the_same_files_give_the_same_image_and_other_files_replace_it() {
        let folder = std::env::temp_dir().join(format!("calls-e2e-image-{}", std::process::id()));
        let make = |content: &str| {
            let mut layer = Layer::new();
            layer.insert("tmp".to_owned(), Entry::Folder { mode: 0o1777 });
            layer.insert("bin/a".to_owned(), Entry::File { mode: 0o755, content: content.into() });
            let config =
                Config { entrypoint: vec!["/bin/a".to_owned()], user: "1:1".to_owned(), title: "a", description: "" };
            write(&folder, "localhost/calls-a", &[layer], &config).expect("written")
        };
        let (first, same) = (make("one"), make("one"));
        assert_eq!(first.reference, same.reference);
        let other = make("two");
        assert_ne!(first.reference, other.reference);
        assert!(other.archive.exists() && !first.archive.exists());
        fs::remove_dir_all(folder).expect("removed");
    }
}
