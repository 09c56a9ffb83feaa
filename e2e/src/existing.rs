//! A cluster one already has: bringing images to it without a local cluster's ways.
//!
//! kind loads archives itself. Any other cluster pulls from a registry that docker or podman pushes to.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{command, output, run, succeeds};
use crate::image::Image;
use crate::install::ProductImages;
use crate::progress::Step;

/// How images reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// `kind load image-archive`, into the cluster of this name.
    Kind(String),
    /// Pushed to this registry.
    Registry(String),
}

/// Brings the images to the cluster of that context; returns them as the cluster knows them.
///
/// # Errors
/// When neither kind nor a registry can be used, or their tool fails.
pub fn bring_images(
    context: &str,
    registry: Option<&str>,
    images: &ProductImages,
    step: &Step,
) -> Result<ProductImages> {
    let way = choose(context, registry)?;
    let bring = |image: &Image| -> Result<Image> {
        step.at(&image.reference);
        match &way {
            Way::Kind(name) => {
                let archive = image.archive.to_string_lossy();
                run(&mut command("kind", ["load", "image-archive", &archive, "--name", name]))?;
                Ok(image.clone())
            }
            Way::Registry(registry) => push(registry, image),
        }
    };
    Ok(ProductImages {
        operator: bring(&images.operator)?,
        sfu: bring(&images.sfu)?,
        director: bring(&images.director)?,
    })
}

/// A registry that was named wins: a kind cluster may have one too.
fn choose(context: &str, registry: Option<&str>) -> Result<Way> {
    match (registry, context.strip_prefix("kind-")) {
        (Some(registry), _) => Ok(Way::Registry(registry.trim_end_matches('/').to_owned())),
        (None, Some(name)) => Ok(Way::Kind(name.to_owned())),
        (None, None) => bail!(
            "the context {context} is not kind's, so its nodes must pull the images: name a registry that docker or \
             podman may push to and the nodes may pull from, with --registry"
        ),
    }
}

fn push(registry: &str, image: &Image) -> Result<Image> {
    let engine = ["docker", "podman"]
        .into_iter()
        .find(|engine| succeeds(&mut command(engine, ["info"])))
        .context("neither docker nor podman answers here: start one, it pushes the images")?;
    load(engine, &image.archive)?;
    let reference = in_registry(registry, &image.reference);
    run(&mut command(engine, ["tag", &image.reference, &reference]))?;
    run(&mut command(engine, ["push", &reference]))
        .with_context(|| format!("is `{engine} login {registry}` needed?"))?;
    Ok(Image { reference, archive: image.archive.clone() })
}

fn load(engine: &str, archive: &Path) -> Result<()> {
    output(command(engine, ["load", "--input"]).arg(archive)).map(drop)
}

/// `localhost/calls-sfu:tag` as it is called in a registry.
fn in_registry(registry: &str, reference: &str) -> String {
    let name = reference.rsplit_once('/').map_or(reference, |(_, name)| name);
    format!("{registry}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_loads_and_others_need_a_registry() {
        assert_eq!(choose("kind-dev", None).expect("a way"), Way::Kind("dev".to_owned()));
        let registry = Way::Registry("r.example.org/calls".to_owned());
        assert_eq!(choose("kind-dev", Some("r.example.org/calls/")).expect("a way"), registry);
        let refused = choose("k3s", None).expect_err("no way");
        assert!(refused.to_string().contains("--registry"), "{refused}");
    }

    #[test]
    fn an_image_keeps_its_name_and_tag_in_a_registry() {
        assert_eq!(in_registry("r.example.org/x", "localhost/calls-sfu:0a1b"), "r.example.org/x/calls-sfu:0a1b");
    }
}
