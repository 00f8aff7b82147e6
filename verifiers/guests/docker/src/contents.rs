//! An image's output as comparison sees it: manifests, configs and layers, each with its canonical form.
//!
//! Reads whatever can be read and requires nothing more: an object that is absent, or not what its descriptor says, is compared by the descriptor; one that has no
//! canonical form is compared bit for bit. What an image must be is for `check` to say. Layers are read once, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use pyrsia_verifier_kit::hash::FieldHasher;
use pyrsia_verifier_kit::inflate::Compression;
use pyrsia_verifier_kit::{CanonicalFile, File, Finding, Refusal, Sha256, Unreadable};
use serde_json::Value;

use crate::files::{Files, MANIFEST, file_name};
use crate::json;
use crate::layer::{self, Budget, LayerForm};
use crate::manifest::{self, CONFIG_BYTES_MAX, Descriptor, Document, FIELDS, MANIFEST_BYTES_MAX, check_config, read_document};
use crate::passes::{Noise, Pass, PassSet};

/// What the layers of an output may unpack to: this many times the bytes of the output, and this many bytes besides. Ordinary layers unpack to less than ten times their size.
/// A comparison reads a layer up to three times and hashes up to four times what it unpacks to; so it stays within what a call may do, and whether a
/// layer has a canonical form depends on its output alone.
const UNPACKED_RATIO_MAX: u64 = 15;
const UNPACKED_BYTES_FLOOR: u64 = 500 << 20;

pub struct Contents<'a> {
    pub files: Files<'a>,
    pub top: Top,
    /// By file number.
    forms: Vec<Option<FileForm>>,
    layers: BTreeMap<(u32, u8), Part>,
    budget: Budget,
}

pub enum Top {
    Image(Box<Image>),
    Index(Box<Index>),
}

pub struct Index {
    pub file: u32,
    pub canonical: Sha256,
    pub noise: Noise,
    pub children: Vec<Child>,
}

/// What an index lists.
pub struct Child {
    pub descriptor: Descriptor,
    /// None of a statement, and of an image that is not there.
    pub image: Option<Image>,
}

pub struct Image {
    pub file: u32,
    pub canonical: Sha256,
    pub noise: Noise,
    pub config: Option<Part>,
    pub layers: Vec<Option<Part>>,
    passes: PassSet,
}

/// A config or a layer that is there.
#[derive(Clone)]
pub struct Part {
    pub file: u32,
    pub canonical: Sha256,
    pub noise: Noise,
    /// Why it is compared bit for bit.
    pub unreadable: Option<Unreadable>,
    pub tar: Option<Tar>,
}

/// The tar of a layer that can be read.
#[derive(Clone, Copy)]
pub struct Tar {
    pub compression: Compression,
    pub diff_id: Sha256,
    /// Where the deflate stream begins; 0 without a gzip header.
    pub compressed_at: u64,
}

struct FileForm {
    canonical: Sha256,
    passes: PassSet,
    findings: Vec<Finding>,
}

impl<'a> Contents<'a> {
    pub fn read(files: Files<'a>) -> Result<Self, Refusal> {
        let forms = (0..files.count()).map(|_| None).collect();
        let file = files.manifest();
        let document = read_document(&files, file, MANIFEST, None)?.0;
        let bytes = files.all().map(|file| file.size()).fold(0, u64::saturating_add);
        let budget = Budget::new(bytes.saturating_mul(UNPACKED_RATIO_MAX).saturating_add(UNPACKED_BYTES_FLOOR));
        let unread = Index { file, canonical: [0; 32], noise: Noise::default(), children: Vec::new() };
        let mut contents = Self { files, top: Top::Index(Box::new(unread)), forms, layers: BTreeMap::new(), budget };
        contents.top = match document {
            Document::Image(image) => Top::Image(Box::new(contents.image(file, &image)?)),
            Document::Index(children) => Top::Index(Box::new(contents.index(file, children)?)),
        };
        Ok(contents)
    }

    /// The canonical digest of a file, and the passes that led to it.
    pub fn form(&self, file: u32) -> (Sha256, PassSet) {
        match &self.forms[file as usize] {
            Some(form) => (form.canonical, form.passes),
            None => (*self.files.sha256_of(file), PassSet::default()),
        }
    }

    /// The names of the files that are no part of an image, a statement or an index, such as one whose descriptor tells another size.
    pub fn without_role(&self) -> BTreeSet<String> {
        self.files.all().filter(|file| self.forms[file.index() as usize].is_none()).map(|file| file.name().into()).collect()
    }

    /// The digests of the objects that belong to statements only.
    pub fn statement_objects(&self) -> BTreeSet<&Sha256> {
        // The top index has the pass too, for what it lists.
        let files = self.files.all().map(|file| file.index()).filter(|file| *file != self.files.manifest());
        files.filter(|file| self.form(*file).1.contains(Pass::Attestations)).map(|file| self.files.sha256_of(file)).collect()
    }

    pub fn canonical_files(&self) -> Vec<CanonicalFile> {
        let canonical = |file: File<'_>| {
            let (digest, passes) = self.form(file.index());
            let findings = match &self.forms[file.index() as usize] {
                Some(form) => form.findings.clone(),
                None => {
                    vec![Finding::new("unreferenced-file", file.name(), "No manifest of the image refers to this file.")]
                }
            };
            CanonicalFile { file: file.index(), canonical_digest: digest.into(), passes: passes.names(), findings }
        };
        self.files.all().map(canonical).collect()
    }

    fn index(&mut self, file: u32, descriptors: Vec<Descriptor>) -> Result<Index, Refusal> {
        let mut children = Vec::with_capacity(descriptors.len());
        for descriptor in descriptors {
            let mut image = None;
            if !descriptor.is_attestation()
                && descriptor.is_manifest()
                && let Some(child) = self.locate(&descriptor)
                && let Document::Image(parts) = self.document(child, &descriptor)?
            {
                image = Some(self.image(child, &parts)?);
            }
            children.push(Child { descriptor, image });
        }
        // Last, so that an object of an image keeps the form it has there.
        for child in children.iter().filter(|child| child.descriptor.is_attestation()) {
            self.statement(&child.descriptor);
        }
        let mut index = Index { file, canonical: [0; 32], noise: Noise::default(), children };
        let value = index.value(&self.files).map_err(|fault| fault.refusal(MANIFEST))?;
        (index.canonical, index.noise) = (json::digest("pyrsia docker index 1", &value.0), value.1);
        let images = index.children.iter().filter_map(|child| child.image.as_ref());
        let passes = images.fold(index.noise.passes(), |passes, image| passes.union(image.passes));
        self.set(file, index.canonical, passes, Vec::new());
        Ok(index)
    }

    fn image(&mut self, file: u32, parts: &manifest::Image) -> Result<Image, Refusal> {
        let layers: Vec<_> = parts.layers.iter().map(|layer| self.layer(layer)).collect();
        let config = self.config(&parts.config, &layers);
        let passes = layers.iter().chain([&config]).flatten().map(|part| part.noise.passes());
        let passes = passes.fold(PassSet::default(), PassSet::union);
        let mut image = Image { file, canonical: [0; 32], noise: Noise::default(), config, layers, passes };
        let subject = self.files.name_of(file);
        let value = image.manifest_value(&self.files).map_err(|fault| fault.refusal(&subject))?;
        (image.canonical, image.noise) = (json::digest("pyrsia docker manifest 1", &value.0), value.1);
        image.passes = image.passes.union(image.noise.passes());
        self.set(file, image.canonical, image.passes, Vec::new());
        Ok(image)
    }

    fn layer(&mut self, descriptor: &Descriptor) -> Option<Part> {
        let file = self.locate(descriptor)?;
        let compression = descriptor.layer_compression();
        let key = (file, compression.map_or(u8::MAX, |compression| compression as u8));
        if let Some(known) = self.layers.get(&key) {
            return Some(known.clone());
        }
        let lent = self.files.file(file);
        let unknown = || Unreadable::new(format!("`{}` is not a known media type of a layer", descriptor.media_type));
        let read = compression.ok_or_else(unknown).and_then(|compression| {
            let form = layer::canonical_form(&lent, self.files.sha256_of(file), compression, &self.budget)?;
            Ok((compression, form))
        });
        let part = match read {
            Ok((compression, LayerForm { canonical, diff_id, noise, compressed_at })) => {
                Part { file, canonical, noise, unreadable: None, tar: Some(Tar { compression, diff_id, compressed_at }) }
            }
            Err(fault) => self.as_it_is(file, fault),
        };
        let findings = part.unreadable.iter().map(|fault| {
            let sentence = format!("The layer is compared bit for bit, because it cannot be read without doubt: {fault}.");
            Finding::new("unreadable-layer", lent.name(), sentence)
        });
        self.set(file, part.canonical, part.noise.passes(), findings.collect());
        self.layers.insert(key, part.clone());
        Some(part)
    }

    fn config(&mut self, descriptor: &Descriptor, layers: &[Option<Part>]) -> Option<Part> {
        let file = self.locate(descriptor)?;
        let name = self.files.name_of(file);
        let read = match check_config(&self.files, file, &name, layers.len()) {
            Ok(()) if descriptor.is_config() => config_value(&self.files, file, layers),
            Ok(()) => Err(Unreadable::new(format!("`{}` is not a known media type of a config", descriptor.media_type))),
            Err(refusal) => Err(Unreadable::new(refusal.sentence.trim_end_matches('.'))),
        };
        let mut findings = Vec::new();
        let part = match read {
            Ok((value, noise, wrong)) => {
                findings.extend(wrong.into_iter().map(|at| {
                    let sentence = format!("The diff id of layer {} is not the sha256 of the layer's tar.", at + 1);
                    Finding::new("wrong-diff-id", &name, sentence)
                }));
                let canonical = json::digest("pyrsia docker config 1", &value);
                Part { file, canonical, noise, unreadable: None, tar: None }
            }
            Err(fault) => {
                let sentence = format!("The config is compared bit for bit, because it cannot be read without doubt: {fault}.");
                findings.push(Finding::new("unreadable-config", &name, sentence));
                self.as_it_is(file, fault)
            }
        };
        self.set(file, part.canonical, part.noise.passes(), findings);
        Some(part)
    }

    /// What a statement consists of has one form, whatever it says.
    fn statement(&mut self, descriptor: &Descriptor) {
        let Some(file) = self.locate(descriptor) else { return };
        self.set_statement(file, "manifest");
        let Ok(Document::Image(parts)) = self.document(file, descriptor) else { return };
        for (role, part) in [("config", &parts.config)].into_iter().chain(parts.layers.iter().map(|layer| ("layer", layer))) {
            if let Some(file) = self.locate(part) {
                self.set_statement(file, role);
            }
        }
    }

    fn set_statement(&mut self, file: u32, role: &str) {
        let mut hasher = FieldHasher::new("pyrsia docker attestation 1");
        hasher.field("role", role.as_bytes());
        let mut passes = PassSet::default();
        passes.insert(Pass::Attestations);
        self.set(file, hasher.finish(), passes, Vec::new());
    }

    /// The first role in which an object occurs gives it its form; manifests have the forms of all roles.
    fn set(&mut self, file: u32, canonical: Sha256, passes: PassSet, findings: Vec<Finding>) {
        self.forms[file as usize].get_or_insert(FileForm { canonical, passes, findings });
    }

    fn as_it_is(&self, file: u32, fault: Unreadable) -> Part {
        let canonical = *self.files.sha256_of(file);
        Part { file, canonical, noise: Noise::default(), unreadable: Some(fault), tar: None }
    }

    fn document(&self, file: u32, descriptor: &Descriptor) -> Result<Document, Refusal> {
        let name = file_name(&descriptor.digest);
        Ok(read_document(&self.files, file, &name, Some(&descriptor.media_type))?.0)
    }

    /// The object that a descriptor describes, if it is there and is what the descriptor says.
    fn locate(&mut self, descriptor: &Descriptor) -> Option<u32> {
        let blob = self.files.claim(&descriptor.digest)?;
        (blob.size == descriptor.size && descriptor.data_agrees()).then_some(blob.file)
    }
}

impl Index {
    /// The index in canonical form.
    pub fn value(&self, files: &Files<'_>) -> Result<(Value, Noise), Unreadable> {
        let (mut value, mut noise) = document_value(files, self.file)?;
        let Some(Value::Array(listed)) = value.get_mut("manifests") else {
            return Err(Unreadable::new("it lists no manifests"));
        };
        for (written, child) in listed.iter_mut().zip(&self.children) {
            if child.descriptor.is_attestation() {
                noise.note(Pass::Attestations, &[written.to_string().as_bytes()]);
                *written = Value::Null;
            } else {
                refer(written, child.image.as_ref().map(|image| &image.canonical), &mut noise);
            }
        }
        listed.retain(|written| !written.is_null());
        Ok((value, noise))
    }
}

impl Image {
    /// The manifest in canonical form.
    pub fn manifest_value(&self, files: &Files<'_>) -> Result<(Value, Noise), Unreadable> {
        let (mut value, mut noise) = document_value(files, self.file)?;
        if let Some(config) = value.get_mut("config") {
            refer(config, self.config.as_ref().map(|part| &part.canonical), &mut noise);
        }
        if let Some(Value::Array(layers)) = value.get_mut("layers") {
            for (written, part) in layers.iter_mut().zip(&self.layers) {
                if part.as_ref().is_some_and(|part| part.tar.is_some()) {
                    json::uncompress(written, &mut noise);
                }
                refer(written, part.as_ref().map(|part| &part.canonical), &mut noise);
            }
        }
        Ok((value, noise))
    }

    /// The config in canonical form; none where it has none.
    pub fn config_value(&self, files: &Files<'_>) -> Option<Value> {
        let config = self.config.as_ref().filter(|config| config.unreadable.is_none())?;
        Some(config_value(files, config.file, &self.layers).ok()?.0)
    }
}

fn document_value(files: &Files<'_>, file: u32) -> Result<(Value, Noise), Unreadable> {
    let bytes = files.read(file, MANIFEST_BYTES_MAX).ok_or_else(|| Unreadable::new("it is too large"))?;
    let mut noise = Noise::default();
    let mut value = json::read(&bytes, &FIELDS, &mut noise)?;
    if let Value::Object(object) = &mut value {
        json::strip_annotations(object, &mut noise);
    }
    Ok((value, noise))
}

/// The config in canonical form, its noise, and which of its diff ids are wrong.
fn config_value(files: &Files<'_>, file: u32, layers: &[Option<Part>]) -> Result<(Value, Noise, Vec<usize>), Unreadable> {
    let bytes = files.read(file, CONFIG_BYTES_MAX).ok_or_else(|| Unreadable::new("it is too large"))?;
    let mut noise = Noise::default();
    let mut value = json::read(&bytes, &[], &mut noise)?;
    json::strip_config(&mut value, &mut noise);
    let forms = |part: &Option<Part>| part.as_ref().and_then(|part| Some((part.tar?.diff_id, part.canonical)));
    let layers: Vec<_> = layers.iter().map(forms).collect();
    let wrong = json::refer_to_layers(&mut value, &layers, &mut noise);
    Ok((value, noise, wrong))
}

fn refer(descriptor: &mut Value, form: Option<&Sha256>, noise: &mut Noise) {
    if let Value::Object(object) = descriptor {
        json::strip_annotations(object, noise);
    }
    if let Some(form) = form {
        json::refer(descriptor, form, noise);
    }
}
