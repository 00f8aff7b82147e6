//! The rows about builds in a snapshot.
//!
//! Of judges that came to the same, the result stands there once.

use super::statements::Statements;
use super::{BuildStatus, Builds, ResultDigests, RevealedResult};
use crate::block::Height;
use crate::coordinate::{ArtifactId, BuildId};
use crate::event::BuildOutcome;
use crate::identity::NodeId;
use crate::projection::snapshot::{RowReader, RowWriter, malformed};
use crate::projection::{Packages, Table};
use crate::shared::Shared;
use crate::state_root::{StateSum, TableId};
use imbl::{OrdMap, OrdSet};
use std::io;

type Revealed = (Shared<BuildOutcome>, Option<ResultDigests>);

impl Builds {
    pub(in crate::projection) fn save(&self, out: &mut RowWriter<'_>) -> io::Result<()> {
        out.table(&self.builds)?;
        self.commitments.save(out)?;
        out.table(&self.sources)?;
        self.save_results(out)?;
        out.table(&self.vouches)?;
        self.disputes.save(out)?;
        out.table(&self.at_risk)?;
        out.table(&self.tallies)?;
        out.table(&self.attempts)
    }

    /// What is pending is not known before [`Builds::pend`].
    pub(in crate::projection) fn load(rows: &mut RowReader<'_>) -> io::Result<Self> {
        let builds: Table<BuildId, super::Build> = rows.table(TableId::Builds)?;
        let (mut unfinished, mut unfinished_of) = (OrdSet::new(), OrdMap::<NodeId, usize>::new());
        for (id, build) in builds.iter().filter(|(_, build)| build.status.is_unfinished()) {
            unfinished.insert(*id);
            *unfinished_of.entry(build.requested_by).or_default() += 1;
        }
        Ok(Self {
            builds,
            commitments: Statements::load(TableId::Commitments, rows)?,
            sources: rows.table(TableId::Sources)?,
            results: load_results(rows)?,
            vouches: rows.table(TableId::Vouches)?,
            disputes: Statements::load(TableId::Disputes, rows)?,
            at_risk: rows.table(TableId::AtRisk)?,
            tallies: rows.table(TableId::Tallies)?,
            attempts: rows.table(TableId::Attempts)?,
            unfinished,
            unfinished_of,
            pending: OrdMap::new(),
        })
    }

    /// Takes as pending every artifact of an agreed build that has no record yet.
    pub(in crate::projection) fn pend(&mut self, packages: &Packages) {
        for id in self.unfinished.clone() {
            let Some(build) = self.get(&id).filter(|build| matches!(build.status, BuildStatus::Agreed { .. })) else { continue };
            let records = packages.records(&build.coordinate).filter(|record| record.build_id == id);
            let added: Vec<ArtifactId> = records.map(|record| record.artifact.artifact_id.clone()).collect();
            self.fill_pending(&id);
            for artifact_id in added {
                self.pending.remove(&(id, artifact_id));
            }
        }
    }

    /// Each result as its judge, and which of the build's different outcomes it is; a new one stands behind it.
    fn save_results(&self, out: &mut RowWriter<'_>) -> io::Result<()> {
        out.value(&(self.results.len() as u64))?;
        let (mut of_build, mut known) = (None, Vec::<&Shared<BuildOutcome>>::new());
        for ((id, judge), revealed) in self.results.iter() {
            if of_build != Some(id) {
                (of_build, known) = (Some(id), vec![]);
            }
            let number = known.iter().position(|outcome| **outcome == revealed.outcome).unwrap_or(known.len());
            out.value(&(id, judge, revealed.height, revealed.counted, number as u64))?;
            if number == known.len() {
                out.value(&(&revealed.outcome, revealed.digests))?;
                known.push(&revealed.outcome);
            }
        }
        Ok(())
    }

    pub(in crate::projection) fn settle(&mut self, sum: &mut StateSum) {
        self.builds.settle(sum);
        self.commitments.settle(sum);
        self.sources.settle(sum);
        self.results.settle(sum);
        self.vouches.settle(sum);
        self.disputes.settle(sum);
        self.at_risk.settle(sum);
        self.tallies.settle(sum);
        self.attempts.settle(sum);
    }

    pub(in crate::projection) fn add_to(&self, sum: &mut StateSum, pause: &mut dyn FnMut() -> bool) -> Option<()> {
        self.builds.add_to(sum, pause)?;
        self.commitments.add_to(sum, pause)?;
        self.sources.add_to(sum, pause)?;
        self.results.add_to(sum, pause)?;
        self.vouches.add_to(sum, pause)?;
        self.disputes.add_to(sum, pause)?;
        self.at_risk.add_to(sum, pause)?;
        self.tallies.add_to(sum, pause)?;
        self.attempts.add_to(sum, pause)
    }
}

fn load_results(rows: &mut RowReader<'_>) -> io::Result<Statements<RevealedResult>> {
    let (mut of_build, mut known) = (None, Vec::<Revealed>::new());
    let rows = rows.rows(|rows| {
        let (id, judge, height, counted, number): (BuildId, NodeId, Height, bool, u64) = rows.value()?;
        if of_build != Some(id) {
            (of_build, known) = (Some(id), vec![]);
        }
        if number == known.len() as u64 {
            known.push(rows.value()?);
        }
        let (outcome, digests) = known.get(number as usize).cloned().ok_or_else(|| malformed("a result refers to no other"))?;
        Ok(((id, judge), RevealedResult { height, outcome, counted, digests }))
    })?;
    Statements::of_rows(TableId::Results, rows)
}
