//! The comparison of two outputs: object by object, in the roles they have in the image, because their names are digests of bytes.
//!
//! Owns the answer and the report. That two objects are the same is what their canonical digests say, and nothing else.

use std::collections::BTreeSet;

use pyrsia_verifier_kit::compare::both;
use pyrsia_verifier_kit::hash::hex;
use pyrsia_verifier_kit::inflate::Compression;
use pyrsia_verifier_kit::{Comparison, Hasher, Output, Refusal, Report, Sha256};
use serde_json::Value;

use crate::contents::{Child, Contents, Image, Index, Part, Tar, Top};
use crate::files::{Files, MANIFEST};
use crate::json::{self, CANONICAL};
use crate::layer::explanation;
use crate::passes::{Noise, Pass, PassSet};

pub fn compare(a: Output<'_>, b: Output<'_>) -> Comparison {
    sides(a, b).unwrap_or_else(Comparison::Undecidable)
}

fn sides(a: Output<'_>, b: Output<'_>) -> Result<Comparison, Refusal> {
    let (files_a, files_b) = both(Files::open(a), Files::open(b))?;
    if files_a.are(&files_b) {
        return Ok(Comparison::Identical);
    }
    let (a, b) = both(Contents::read(files_a), Contents::read(files_b))?;
    let pair = Pair { a: &a, b: &b };
    let (extra_a, extra_b) = (pair.a.without_role(), pair.b.without_role());
    if pair.a.top.canonical() == pair.b.top.canonical() && extra_a == extra_b {
        return Ok(Comparison::SameAfter(pair.passes().names()));
    }
    let (mut explanation, mut report) = (Explanation::default(), Report::new());
    report.artifact(MANIFEST);
    match (&pair.a.top, &pair.b.top) {
        (Top::Image(a), Top::Image(b)) => explanation.images(&pair, a, b, &mut report),
        (Top::Index(a), Top::Index(b)) => explanation.indexes(&pair, a, b, &mut report),
        (a, b) => report.differs("kind", a.word(), b.word()),
    }
    for name in extra_a.difference(&extra_b) {
        report.artifact(name);
        report.only_in_a("a file that no manifest refers to");
    }
    for name in extra_b.difference(&extra_a) {
        report.artifact(name);
        report.only_in_b("a file that no manifest refers to");
    }
    Ok(explanation.into_comparison(report))
}

impl Top {
    fn canonical(&self) -> Sha256 {
        match self {
            Self::Image(image) => image.canonical,
            Self::Index(index) => index.canonical,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Image(_) => "an image",
            Self::Index(_) => "an index of images",
        }
    }
}

struct Pair<'p> {
    a: &'p Contents<'p>,
    b: &'p Contents<'p>,
}

impl Pair<'_> {
    /// The passes without which two outputs of equal canonical form would not be the same.
    fn passes(&self) -> PassSet {
        let mut passes = match (&self.a.top, &self.b.top) {
            (Top::Image(a), Top::Image(b)) => self.of_images(a, b),
            (Top::Index(a), Top::Index(b)) => {
                let images = |index| Index::images(index).map(|(_, image)| image);
                let own = self.of_documents((a.file, &a.noise), (b.file, &b.noise));
                images(a).zip(images(b)).fold(own, |passes, (a, b)| passes.union(self.of_images(a, b)))
            }
            (Top::Image(_), Top::Index(_)) | (Top::Index(_), Top::Image(_)) => PassSet::default(),
        };
        // A statement may be listed alike on both sides and yet be there, or complete, on one only.
        if self.a.statement_objects() != self.b.statement_objects() {
            passes.insert(Pass::Attestations);
        }
        passes
    }

    fn of_images(&self, a: &Image, b: &Image) -> PassSet {
        let mut passes = self.of_documents((a.file, &a.noise), (b.file, &b.noise));
        if let (Some(a), Some(b)) = (&a.config, &b.config) {
            passes = passes.union(self.of_documents((a.file, &a.noise), (b.file, &b.noise)));
        }
        for (a, b) in a.layers.iter().zip(&b.layers) {
            if let (Some(a), Some(b)) = (a, b) {
                passes = passes.union(self.of_layers(a, b));
            }
        }
        passes
    }

    fn of_documents(&self, (file, noise): (u32, &Noise), (other_file, other_noise): (u32, &Noise)) -> PassSet {
        if self.a.files.sha256_of(file) == self.b.files.sha256_of(other_file) {
            return PassSet::default();
        }
        let mut passes = noise.different(other_noise);
        if passes.is_empty() {
            // Escapes and the like.
            passes.insert(Pass::JsonForm);
        }
        passes
    }

    fn of_layers(&self, a: &Part, b: &Part) -> PassSet {
        let (Some(tar_a), Some(tar_b)) = (a.tar, b.tar) else { return PassSet::default() };
        if self.a.files.sha256_of(a.file) == self.b.files.sha256_of(b.file) {
            return PassSet::default();
        }
        let mut passes = a.noise.different(&b.noise);
        if tar_a.diff_id == tar_b.diff_id {
            if tar_a.compression == tar_b.compression && compressed(self.a, a.file, tar_a) != compressed(self.b, b.file, tar_b) {
                passes.insert(Pass::Compression);
            }
        } else if !Pass::OF_TAR.iter().any(|pass| passes.contains(*pass)) {
            passes.insert(Pass::TarDialect);
        }
        passes
    }
}

/// The sha256 of a layer without its gzip header.
fn compressed(contents: &Contents<'_>, file: u32, tar: Tar) -> Sha256 {
    let file = contents.files.file(file);
    let mut hasher = Hasher::new();
    hasher.update_from(&file, tar.compressed_at, file.size() - tar.compressed_at);
    hasher.finish()
}

impl Index {
    /// The images with what they are called in a report: by platform, and by number where a platform has several.
    fn images(&self) -> impl Iterator<Item = (String, &Image)> {
        let mut seen: Vec<String> = Vec::new();
        self.children.iter().filter_map(move |Child { descriptor, image }| {
            let platform = descriptor.platform_name().unwrap_or_else(|| "no platform".into());
            let count = seen.iter().filter(|known| **known == platform).count();
            let name = if count == 0 { platform.clone() } else { format!("{platform} ({})", count + 1) };
            seen.push(platform);
            Some((name, image.as_ref()?))
        })
    }
}

/// What is found besides differences.
#[derive(Default)]
struct Explanation {
    place: Vec<String>,
    undecided: Vec<Undecided>,
}

/// Two objects that differ bit for bit, one of which cannot be read.
struct Undecided {
    place: Vec<String>,
    refusal: Refusal,
    a: String,
    b: String,
}

impl Explanation {
    fn indexes(&mut self, pair: &Pair<'_>, a: &Index, b: &Index, report: &mut Report) {
        if let (Ok((a, _)), Ok((b, _))) = (a.value(&pair.a.files), b.value(&pair.b.files)) {
            differing(&a, &b, report);
        }
        for (name, a) in a.images() {
            if let Some((_, b)) = b.images().find(|(other, _)| *other == name) {
                self.within(&name, report, |explanation, report| explanation.images(pair, a, b, report));
            }
        }
    }

    fn images(&mut self, pair: &Pair<'_>, a: &Image, b: &Image, report: &mut Report) {
        if a.canonical == b.canonical {
            return;
        }
        if let (Ok((mut value_a, _)), Ok((mut value_b, _))) = (a.manifest_value(&pair.a.files), b.manifest_value(&pair.b.files)) {
            // How a layer is compressed means nothing if its content is the same, which of one that cannot be read nobody knows.
            let in_doubt = |(a, b): (&Option<Part>, &Option<Part>)| match (a, b) {
                (Some(a), Some(b)) => {
                    (a.unreadable.is_some() || b.unreadable.is_some())
                        && pair.a.files.sha256_of(a.file) != pair.b.files.sha256_of(b.file)
                }
                _ => false,
            };
            for (at, _) in a.layers.iter().zip(&b.layers).enumerate().filter(|(_, layers)| in_doubt(*layers)) {
                for value in [&mut value_a, &mut value_b] {
                    if let Some(layer) = value.pointer_mut(&format!("/layers/{at}")) {
                        json::uncompress(layer, &mut Noise::default());
                    }
                }
            }
            differing(&value_a, &value_b, report);
        }
        self.within("config", report, |explanation, report| explanation.configs(pair, a, b, report));
        for (at, (a, b)) in a.layers.iter().zip(&b.layers).enumerate() {
            if let (Some(a), Some(b)) = (a, b) {
                let place = format!("layer {}", at + 1);
                self.within(&place, report, |explanation, report| explanation.layers(pair, a, b, report));
            }
        }
    }

    fn configs(&mut self, pair: &Pair<'_>, a: &Image, b: &Image, report: &mut Report) {
        let (Some(part_a), Some(part_b)) = (&a.config, &b.config) else { return };
        if !self.readable(pair, part_a, part_b) {
            return;
        }
        let values = (a.config_value(&pair.a.files), b.config_value(&pair.b.files));
        let (Some(mut value_a), Some(mut value_b)) = values else { return };
        // The diff id of a layer that cannot be read says that its bytes differ, which is said of the layer.
        let unreadable = |part: &Option<Part>| part.as_ref().is_some_and(|part| part.unreadable.is_some());
        for (at, _) in a.layers.iter().zip(&b.layers).enumerate().filter(|(_, (a, b))| unreadable(a) || unreadable(b)) {
            for value in [&mut value_a, &mut value_b] {
                value.pointer_mut(&format!("/rootfs/diff_ids/{at}")).map(Value::take);
            }
        }
        differing(&value_a, &value_b, report);
    }

    fn layers(&mut self, pair: &Pair<'_>, a: &Part, b: &Part, report: &mut Report) {
        if a.canonical == b.canonical || !self.readable(pair, a, b) {
            return;
        }
        let compression = |part: &Part| part.tar.map_or(Compression::None, |tar| tar.compression);
        let (file_a, file_b) = (pair.a.files.file(a.file), pair.b.files.file(b.file));
        if explanation::explain((&file_a, compression(a)), (&file_b, compression(b)), report).is_err() {
            report.content((file_a.size(), &file_a.sha256()), (file_b.size(), &file_b.sha256()));
        }
    }

    /// Whether both have a canonical form. If not, and they differ, nobody can say whether they are the same.
    fn readable(&mut self, pair: &Pair<'_>, a: &Part, b: &Part) -> bool {
        let read = |contents: &Contents<'_>, part: &Part| match &part.unreadable {
            Some(fault) => Err(fault.refusal(&contents.files.name_of(part.file))),
            None => Ok(()),
        };
        let Err(refusal) = both(read(pair.a, a), read(pair.b, b)) else { return true };
        let (a, b) = (pair.a.files.sha256_of(a.file), pair.b.files.sha256_of(b.file));
        if a != b {
            self.undecided.push(Undecided { place: self.place.clone(), refusal, a: hex(a), b: hex(b) });
        }
        false
    }

    fn within(&mut self, place: &str, report: &mut Report, explain: impl FnOnce(&mut Self, &mut Report)) {
        self.place.push(place.into());
        report.within(place, |report| explain(self, report));
        self.place.pop();
    }

    fn into_comparison(mut self, mut report: Report) -> Comparison {
        if report.is_empty() && !self.undecided.is_empty() {
            return Comparison::Undecidable(self.undecided.swap_remove(0).refusal);
        }
        report.artifact(MANIFEST);
        for Undecided { place, a, b, .. } in self.undecided {
            report.within(&place.join(", "), |report| report.differs("bytes, which cannot be read without doubt", &a, &b));
        }
        report.into_comparison()
    }
}

/// Adds what differs between two documents in canonical form, but not what is only referred to: that is compared where it is.
fn differing(a: &Value, b: &Value, report: &mut Report) {
    match (a, b) {
        (Value::Object(map_a), Value::Object(map_b)) => {
            let keys: BTreeSet<&String> = map_a.keys().chain(map_b.keys()).filter(|key| *key != CANONICAL).collect();
            for key in keys {
                report.within(key, |report| match (map_a.get(key), map_b.get(key)) {
                    (Some(a), Some(b)) => differing(a, b, report),
                    (a, b) => only_in_one(a, b, report),
                });
            }
        }
        (Value::Array(items_a), Value::Array(items_b)) => {
            for at in 0..items_a.len().max(items_b.len()) {
                report.within(&(at + 1).to_string(), |report| match (items_a.get(at), items_b.get(at)) {
                    (Some(a), Some(b)) => differing(a, b, report),
                    (a, b) => only_in_one(a, b, report),
                });
            }
        }
        _ => report.compare("value", a.to_string(), b.to_string()),
    }
}

fn only_in_one(a: Option<&Value>, b: Option<&Value>, report: &mut Report) {
    if let Some(a) = a {
        report.only_in_a(&a.to_string());
    }
    if let Some(b) = b {
        report.only_in_b(&b.to_string());
    }
}

#[cfg(test)]
mod tests;
