//! The check of one build output: complete, well formed, nothing left over, and what it publishes.
//!
//! Artifacts and their order: the coordinate; the manifest by digest; then, in the order the manifest names them, its config and layers,
//! or for an index each child manifest followed by its config and layers. Each object once. A layer without a canonical form is no reason to refuse: it is
//! compared bit for bit.

use std::collections::BTreeSet;

use pyrsia_verifier_kit::{Output as Lent, PublishedArtifact, Refusal};

use crate::contents::Contents;
use crate::coordinate::{Coordinate, Reference, is_digest};
use crate::files::{Blob, Files, MANIFEST, file_name};
use crate::manifest::{Descriptor, Document, Image, check_config, read_document};

/// What a node records of a media type.
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// What a descriptor is allowed to point to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// An image: its config and layers have the media types of an image.
    Image,
    /// A statement about an image: any media type, for it is never run.
    Attestation,
}

pub fn check(coordinate: &str, lent: Lent<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
    let coordinate = Coordinate::parse(coordinate)?;
    let mut output = Output { files: Files::open(lent)?, objects: Vec::new(), seen: BTreeSet::new() };

    let top = output.files.manifest();
    let digest = output.files.digest_of(top);
    let (document, media_type) = read_document(&output.files, top, MANIFEST, None)?;
    if let Reference::Digest(wanted) = coordinate.reference()
        && *wanted != digest
    {
        return Err(Refusal::new(
            "wrong-digest",
            MANIFEST,
            format!("The coordinate asks for {wanted}, the manifest's digest is {digest}."),
        ));
    }
    output.publish(&digest, top, &media_type);
    match document {
        Document::Image(image) => output.image(&image, Content::Image)?,
        Document::Index(children) => output.index(&children)?,
    }
    if let Some(name) = output.files.unreferenced().next() {
        return Err(Refusal::new("unreferenced-file", &name, "No manifest of the image refers to this file."));
    }
    output.into_published(&coordinate)
}

struct Output<'a> {
    files: Files<'a>,
    objects: Vec<Object>,
    seen: BTreeSet<String>,
}

struct Object {
    digest: String,
    file: u32,
    media_type: String,
}

impl Output<'_> {
    fn publish(&mut self, digest: &str, file: u32, media_type: &str) {
        if self.seen.insert(digest.into()) {
            self.objects.push(Object { digest: digest.into(), file, media_type: media_type.into() });
        }
    }

    fn index(&mut self, children: &[Descriptor]) -> Result<(), Refusal> {
        if children.iter().all(Descriptor::is_attestation) {
            return Err(Refusal::new("empty-index", MANIFEST, "The index lists no image."));
        }
        for child in children {
            if child.is_index() {
                return Err(Refusal::new("nested-index", &child.digest, "An index may list images, not other indexes."));
            }
            if !child.is_manifest() {
                return Err(unknown_media_type(child, "an image manifest"));
            }
            let blob = self.object(child, "manifest")?;
            let name = file_name(&child.digest);
            match read_document(&self.files, blob.file, &name, Some(&child.media_type))?.0 {
                Document::Image(image) => {
                    self.image(&image, if child.is_attestation() { Content::Attestation } else { Content::Image })?
                }
                Document::Index(_) => {
                    return Err(Refusal::new("nested-index", &name, "An index may list images, not other indexes."));
                }
            }
        }
        Ok(())
    }

    fn image(&mut self, image: &Image, content: Content) -> Result<(), Refusal> {
        let Image { config, layers } = image;
        if content == Content::Image && !config.is_config() {
            return Err(unknown_media_type(config, "an image's config"));
        }
        let blob = self.object(config, "config")?;
        if content == Content::Image {
            check_config(&self.files, blob.file, &file_name(&config.digest), layers.len())?;
        }
        for layer in layers {
            if content == Content::Image && !layer.is_layer() {
                return Err(unknown_media_type(layer, "a layer"));
            }
            self.object(layer, "layer")?;
        }
        Ok(())
    }

    /// Finds what `descriptor` points to. That the bytes have the digest of the file's name was checked when the files were opened.
    fn object(&mut self, descriptor: &Descriptor, role: &str) -> Result<Blob, Refusal> {
        let Descriptor { digest, size, media_type, .. } = descriptor;
        if !is_digest(digest) {
            return Err(Refusal::new(
                "malformed-digest",
                digest,
                format!("The {role}'s digest is not `sha256:` and 64 lower-case hexadecimal digits."),
            ));
        }
        // A statement may consist of anything, but it is served with what is written here.
        if !is_header_value(media_type) {
            let sentence = format!("The {role}'s media type is not 1 to {MEDIA_TYPE_BYTES_MAX} printable ASCII characters.");
            return Err(Refusal::new("malformed-media-type", digest, sentence));
        }
        let platform = descriptor.platform_name().map(|platform| format!(" for the platform {platform}")).unwrap_or_default();
        let Some(blob) = self.files.claim(digest) else {
            return Err(Refusal::new(
                match role {
                    "config" => "missing-config",
                    "layer" => "missing-layer",
                    _ => "missing-manifest",
                },
                &file_name(digest),
                format!("The {role}{platform} is not among the build's files."),
            ));
        };
        if blob.size != *size {
            return Err(Refusal::new(
                "wrong-size",
                &file_name(digest),
                format!("The {role}{platform} has {} bytes, its descriptor says {size}.", blob.size),
            ));
        }
        if !descriptor.data_agrees() {
            let sentence = format!("The {role}'s descriptor embeds data that is not the {role}.");
            return Err(Refusal::new("wrong-data", digest, sentence));
        }
        self.publish(digest, blob.file, media_type);
        Ok(blob)
    }

    fn into_published(self, coordinate: &Coordinate) -> Result<Vec<PublishedArtifact>, Refusal> {
        let contents = Contents::read(self.files)?;
        let mut published = Vec::with_capacity(self.objects.len() + 1);
        for object in self.objects {
            let (canonical, passes) = contents.form(object.file);
            let by_digest = PublishedArtifact {
                artifact_id: coordinate.object(&object.digest),
                canonical_digest: canonical.into(),
                file: object.file,
                media_type: object.media_type,
                passes: passes.names(),
            };
            if published.is_empty() && matches!(coordinate.reference(), Reference::Tag(_)) {
                published.push(PublishedArtifact { artifact_id: coordinate.to_string(), ..by_digest.clone() });
            }
            published.push(by_digest);
        }
        Ok(published)
    }
}

fn is_header_value(text: &str) -> bool {
    (1..=MEDIA_TYPE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn unknown_media_type(descriptor: &Descriptor, wanted: &str) -> Refusal {
    Refusal::new(
        "unknown-media-type",
        &descriptor.digest,
        format!("`{}` is not a known media type of {wanted}.", descriptor.media_type),
    )
}

#[cfg(test)]
mod tests;
