//! Judges of every character that follow the plan, until nothing more happens.

use super::*;
use proptest::prelude::*;

#[test]
fn a_queue_that_is_longer_than_every_patience_fails_no_build() {
    let character = Character { outcome: Kind::Builds(0), run_ms: 60_000, silent_from: Quiet::Never };
    let mut simulation = Simulation::new(vec![character; 4], 30_000_000);
    simulation.run(0);
    let status = simulation.ledger.status(&simulation.id);
    assert!(matches!(status, BuildStatus::Published { .. }), "{status:?}");
}

/// A judge of the simulated network.
#[derive(Clone, Debug)]
struct Character {
    outcome: Kind,
    /// How long its run takes.
    run_ms: u64,
    /// It says nothing more from this on.
    silent_from: Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fails,
    Abstains,
    /// Builds the honest canonical result in bytes of this variant.
    Builds(u8),
    /// Claims the honest canonical digest for bytes of its own.
    Lies,
    BuildsSomethingElse,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Quiet {
    AtCommitting,
    AtRevealing,
    AtVouching,
    AtTheEnd,
    Never,
}

impl Kind {
    fn outcome(self, key: usize) -> BuildOutcome {
        match self {
            Self::Fails => failed(),
            Self::Abstains => BuildOutcome::Abstained { reason: "not I".into() },
            Self::Builds(variant) => built_as("honest", &format!("honest {variant}")),
            Self::Lies => built_as("honest", &format!("lie of {key}")),
            Self::BuildsSomethingElse => built("something else"),
        }
    }
}

fn characters() -> impl Strategy<Value = Vec<Character>> {
    let kind = prop_oneof![
        1 => Just(Kind::Fails),
        1 => Just(Kind::Abstains),
        4 => (0u8..3).prop_map(Kind::Builds),
        1 => Just(Kind::Lies),
        1 => Just(Kind::BuildsSomethingElse),
    ];
    let quiet = prop_oneof![
        1 => Just(Quiet::AtCommitting),
        1 => Just(Quiet::AtRevealing),
        1 => Just(Quiet::AtVouching),
        1 => Just(Quiet::AtTheEnd),
        2 => Just(Quiet::Never),
    ];
    let run_ms = prop_oneof![0u64..1_000, 0..=millis(RUN_LIMIT)];
    let character = (kind, run_ms, quiet);
    prop::collection::vec(character, 1..8).prop_map(|characters| {
        // A minority is silent.
        let mut may_be_silent = characters.len() - (characters.len() / 2 + 1);
        let minority = |(outcome, run_ms, silent_from)| {
            let silent_from = match silent_from {
                Quiet::Never => Quiet::Never,
                _ if may_be_silent == 0 => Quiet::Never,
                quiet => {
                    may_be_silent -= 1;
                    quiet
                }
            };
            Character { outcome, run_ms, silent_from }
        };
        characters.into_iter().map(minority).collect()
    })
}

struct Simulation {
    ledger: Ledger,
    id: BuildId,
    characters: Vec<Character>,
    progress: Vec<Progress>,
    /// When the run of each judge had its place, and when it ends.
    runs_ms: Vec<Option<(u64, u64)>>,
    /// How long each judge's run waits for a place.
    queue_ms: u64,
    now_ms: u64,
}

impl Simulation {
    fn new(characters: Vec<Character>, queue_ms: u64) -> Self {
        let mut ledger = Ledger::with_members(characters.len() as u8);
        let id = ledger.open_build();
        let count = characters.len();
        Self {
            ledger,
            id,
            characters,
            progress: vec![Progress::default(); count],
            runs_ms: vec![None; count],
            queue_ms,
            now_ms: 0,
        }
    }

    /// Takes a judge's next step; returns when it wants to be asked again.
    fn turn(&mut self, key: usize) -> (bool, Option<u64>) {
        if let Some((began_ms, end_ms)) = self.runs_ms[key]
            && self.now_ms >= end_ms
        {
            self.runs_ms[key] = None;
            let progress = &mut self.progress[key];
            (progress.running, progress.run_began_ms) = (false, Some(began_ms));
            progress.result = Some(result(self.characters[key].outcome.outcome(key)));
        }
        let step = self.ledger.step(key, &self.id, &mut self.progress[key], self.now_ms);
        let is_silent = {
            let phase = match self.ledger.status(&self.id) {
                BuildStatus::Committing => Quiet::AtCommitting,
                BuildStatus::Revealing => Quiet::AtRevealing,
                BuildStatus::Vouching { .. } => Quiet::AtVouching,
                _ => Quiet::AtTheEnd,
            };
            phase >= self.characters[key].silent_from
        };
        if is_silent {
            return (false, None);
        }
        let run_end = self.runs_ms[key].map(|(_, end_ms)| end_ms);
        match step {
            Step::Wait { until_ms } => return (false, Some(run_end.map_or(until_ms, |end_ms| end_ms.min(until_ms)))),
            Step::Idle => return (false, run_end),
            Step::Done => return (false, None),
            Step::Run => {
                self.progress[key].running = true;
                let began_ms = self.now_ms + self.queue_ms;
                self.runs_ms[key] = Some((began_ms, began_ms + self.characters[key].run_ms));
            }
            Step::Seal => {
                let result = self.progress[key].result.take().unwrap();
                self.progress[key].sealed = Some(Arc::new(Sealed { salt: SALT, result }));
            }
            Step::Commit => self.ledger.commit(key, self.id, self.characters[key].outcome.outcome(key)),
            Step::Reveal => self.ledger.reveal(key, self.id, self.characters[key].outcome.outcome(key)),
            Step::EndWait(phase) => self.fold(key, Event::BuildWaitEnded(BuildWaitEnded { build_id: self.id, phase })),
            Step::CheckCandidate(candidate) => {
                let verdict = self.look_at(key);
                self.progress[key].vouching = Vouching { candidate: Some(candidate), verdict: Work::Done(verdict) };
            }
            Step::Vouch { candidate, verdict } => {
                let vouched = BuildCandidateVouched { build_id: self.id, candidate, verdict };
                self.fold(key, Event::BuildCandidateVouched(vouched));
            }
            Step::Compare => self.progress[key].report = Work::Done(DisputeReport { comparisons: vec![], omitted: 0 }),
            Step::Dispute(report) => self.fold(key, Event::BuildDisputed(BuildDisputed { build_id: self.id, report })),
            Step::Publish(events) => {
                assert!(!events.is_empty());
                events.into_iter().for_each(|event| self.fold(key, Event::AddArtifact(event)));
            }
        }
        (true, None)
    }

    fn fold(&mut self, key: usize, event: Event) {
        self.ledger.fold(key, event);
    }

    /// What the verifier says of the candidate; liars vouch for everything.
    fn look_at(&self, key: usize) -> Vouch {
        let candidate = self.ledger.state.builds.candidate(&self.id).unwrap();
        let builder = (0..self.characters.len()).find(|other| candidate.judges.contains(&self.ledger.node(*other))).unwrap();
        let is_lie = self.characters[builder].outcome == Kind::Lies;
        if is_lie && self.characters[key].outcome != Kind::Lies {
            return Vouch::Different { reason: "other bytes".into() };
        }
        Vouch::Same
    }

    /// Runs until nothing more happens.
    fn run(&mut self, mut order: u64) {
        for _ in 0..10_000 {
            let (mut moved, mut wake_ms) = (false, None::<u64>);
            order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for turn in 0..self.characters.len() {
                let key = (turn + (order >> 33) as usize) % self.characters.len();
                let (stepped, until_ms) = self.turn(key);
                moved |= stepped;
                wake_ms = [wake_ms, until_ms].into_iter().flatten().min();
            }
            match wake_ms {
                _ if moved => {}
                Some(until_ms) => self.now_ms = self.now_ms.max(until_ms),
                None => return,
            }
        }
        panic!("no end after {} ms: {:?}", self.now_ms, self.ledger.status(&self.id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever the judges got, however long they took and waited for a place to run, in whatever order they take their steps, and whenever a minority falls
    /// silent: the plan of the others leads every build to its end, the ledger refuses no step, no lie is published while
    /// liars are a minority, and every result stands on record.
    #[test]
    fn following_the_plan_ends_every_build(
        characters in characters(), queue_ms in 0u64..20_000_000, order in any::<u64>(),
    ) {
        let mut simulation = Simulation::new(characters.clone(), queue_ms);
        simulation.run(order);
        let (state, id) = (&simulation.ledger.state, &simulation.id);
        let status = simulation.ledger.status(id);
        prop_assert!(status.is_closed() && *status != BuildStatus::Disputed { reports: 0 }, "{status:?}");
        for (key, character) in characters.iter().enumerate().filter(|(_, character)| character.silent_from == Quiet::Never) {
            let judge = state.builds.judge_state(id, &simulation.ledger.node(key));
            prop_assert!(state.builds.result(id, &simulation.ledger.node(key)).is_some(), "{character:?}: {judge:?}");
        }
        let liars = characters.iter().filter(|character| character.outcome == Kind::Lies).count();
        if let Some((_, artifacts)) = state.builds.chosen(id)
            && liars * 2 < characters.len()
        {
            for (key, _) in characters.iter().enumerate().filter(|(_, character)| character.outcome == Kind::Lies) {
                let BuildOutcome::Built { artifacts: lie, .. } = Kind::Lies.outcome(key) else { unreachable!() };
                prop_assert_ne!(artifacts, lie.as_slice());
            }
        }
        let honest = |variant| characters.iter().filter(|character| {
            character.silent_from == Quiet::Never && character.outcome == Kind::Builds(variant) && character.run_ms < 1_000
        }).count();
        if (0..3).any(|variant| honest(variant) > characters.len() / 2) {
            prop_assert!(matches!(status, BuildStatus::Published { .. }), "{status:?}");
        }
    }
}
