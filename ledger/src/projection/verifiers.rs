//! Which verifier components the network has agreed on. None is ever forgotten: replay needs the old ones.

use super::members::add_approval;
use super::snapshot::{RowReader, RowWriter};
use super::{Place, Table};
use crate::block::Height;
use crate::certificate::ValidatorSet;
use crate::coordinate::PackageType;
use crate::digest::Sha256Digest;
use crate::event::VerifierApproved;
use crate::identity::NodeId;
use crate::state_root::{StateSum, TableId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;
use std::io;

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Module {
    pub contract_version: u16,
    pub approvals: Vec<NodeId>,
    /// When an absolute majority had approved; the newest approved module of a type judges its builds.
    pub approved_at: Option<Height>,
}

#[derive(Clone, Debug)]
pub struct Verifiers {
    modules: Table<(PackageType, Sha256Digest), Module>,
}

impl Verifiers {
    pub(super) fn new() -> Self {
        Self { modules: Table::new(TableId::Verifiers) }
    }

    pub(super) fn save(&self, out: &mut RowWriter<'_>) -> io::Result<()> {
        out.table(&self.modules)
    }

    pub(super) fn load(rows: &mut RowReader<'_>) -> io::Result<Self> {
        Ok(Self { modules: rows.table(TableId::Verifiers)? })
    }

    pub(super) fn add_to(&self, sum: &mut StateSum, pause: &mut dyn FnMut() -> bool) -> Option<()> {
        self.modules.add_to(sum, pause)
    }

    pub(super) fn settle(&mut self, sum: &mut StateSum) {
        self.modules.settle(sum);
    }

    pub fn module(&self, package_type: &PackageType, digest: &Sha256Digest) -> Option<&Module> {
        self.modules.get(&(package_type.clone(), *digest))
    }

    pub fn modules(&self) -> impl DoubleEndedIterator<Item = (&(PackageType, Sha256Digest), &Module)> {
        self.modules.iter()
    }

    /// The module that builds of `package_type` requested at the next height are judged by.
    pub fn current(&self, package_type: &PackageType) -> Option<Sha256Digest> {
        self.of_type(package_type)
            .filter_map(|(digest, module)| Some((module.approved_at?, *digest)))
            .max()
            .map(|(_, digest)| digest)
    }

    /// The name of a type as it stands here: whoever keeps it keeps no copy.
    pub(super) fn name_of(&self, package_type: &PackageType) -> Option<&PackageType> {
        let first = (package_type.clone(), Sha256Digest::new([0; 32]));
        self.modules.first_from(&first).map(|((found, _), _)| found).filter(|found| *found == package_type)
    }

    fn of_type<'a>(&'a self, package_type: &'a PackageType) -> impl Iterator<Item = (&'a Sha256Digest, &'a Module)> {
        let first = (package_type.clone(), Sha256Digest::new([0; 32]));
        self.modules.range(first..).take_while(move |((found, _), _)| found == package_type).map(|((_, d), m)| (d, m))
    }

    pub(super) fn approve(&mut self, place: Place, body: &VerifierApproved, authorizers: &ValidatorSet) {
        let key = (body.package_type.clone(), body.module);
        let mut module = self.modules.get(&key).cloned().unwrap_or(Module {
            contract_version: body.contract_version,
            approvals: vec![],
            approved_at: None,
        });
        add_approval(&mut module.approvals, place.author);
        if module.approved_at.is_none() && authorizers.has_majority(&module.approvals) {
            module.approved_at = Some(place.height);
        }
        self.modules.put(key, module);
    }
}
