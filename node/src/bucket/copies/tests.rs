//! What is known of copies, over restarts and in every order of those who change it.

use super::*;

#[test]
fn what_is_known_of_copies_outlasts_the_process_and_holds_for_one_location() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [here, elsewhere, first, second, third] = [1, 2, 3, 4, 5].map(|byte| Sha256Digest::new([byte; 32]));
    let open = |location| Copies::open(folder.path(), location).expect("opens");
    let copies = open(&here);
    for (sha256, size_bytes) in [(&first, 10), (&second, 0), (&third, 7)] {
        copies.note(sha256, size_bytes).expect("notes");
    }
    copies.record(&third, copies.mark_wrong(&third)).expect("notes");
    copies.forget(&second).expect("forgets");
    for copies in [copies, open(&here)] {
        assert_eq!((copies.page(None, 9), copies.totals()), (vec![(first, 10)], (1, 10, 1)));
        assert!(copies.is_wrong(&third) && copies.get(&third).is_none());
    }
    assert_eq!(open(&elsewhere).totals(), (0, 0, 0));
    open(&here).note(&third, 7).expect("notes");
    assert_eq!(open(&here).page(Some(&first), 9), vec![(third, 7)]);
    assert!(!open(&here).is_wrong(&third));
}

/// What the copy and the artifact on the disk live through, one step at a time.
struct World {
    copies: Arc<Copies>,
    is_in_bucket: bool,
    is_on_disk: bool,
    seen: Option<Noted>,
    removal: Option<Removal>,
    making: Option<Making>,
}

impl World {
    /// Steps of a removal that succeeds or not, of an eviction, and of the copier.
    fn step(&mut self, actor: usize, number: usize, removes: bool) {
        let sha256 = Sha256Digest::new([1; 32]);
        match (actor, number) {
            (0, 0) => self.removal = Some(self.copies.begin_removal(&sha256).expect("begins")),
            (0, 1) => self.is_in_bucket &= !removes,
            (0, _) => match self.removal.take() {
                Some(removal) if !removes => removal.came_to_nothing().expect("notes"),
                ended => drop(ended),
            },
            (1, 0) => self.seen = self.copies.noted(&sha256),
            (1, 1) => self.seen = self.seen.filter(|_| self.is_in_bucket),
            (1, _) => {
                let Some(seen) = self.seen else { return };
                let evicted = self.copies.while_known(&sha256, seen, || self.is_on_disk = false);
                assert!(evicted.is_none() || (self.is_in_bucket && self.removal.is_none()), "the last copy left the disk");
            }
            (_, 0) if self.is_on_disk && self.copies.get(&sha256).is_none() => self.making = self.copies.begin_making(&sha256),
            (_, 1) => self.is_in_bucket |= self.making.is_some(),
            (_, 2) => {
                let Some(making) = self.making.take() else { return };
                self.is_in_bucket = making.note(7).expect("notes");
            }
            _ => {}
        }
    }
}

/// All orders in which the three steps of each of the three can come.
fn orders(done: [usize; 3]) -> Vec<Vec<usize>> {
    if done == [3; 3] {
        return vec![vec![]];
    }
    let next = (0..3).filter(|actor| done[*actor] < 3);
    let with = |actor: usize| {
        let mut after = done;
        after[actor] += 1;
        orders(after).into_iter().map(move |rest| [vec![actor], rest].concat())
    };
    next.flat_map(with).collect()
}

#[test]
fn in_no_order_of_removal_eviction_and_copying_does_the_last_copy_leave_the_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copies = Arc::new(Copies::open(folder.path(), &Sha256Digest::new([2; 32])).expect("opens"));
    let sha256 = Sha256Digest::new([1; 32]);
    let orders = orders([0; 3]);
    assert_eq!(orders.len(), 1_680);
    for (order, removes, has_copy) in
        orders.iter().flat_map(|order| [(order, true, true), (order, true, false), (order, false, true), (order, false, false)])
    {
        match has_copy {
            true => copies.note(&sha256, 7).expect("notes"),
            false => copies.forget(&sha256).expect("forgets"),
        }
        let (mut done, copies) = ([0; 3], copies.clone());
        let mut world = World { copies, is_in_bucket: has_copy, is_on_disk: true, seen: None, removal: None, making: None };
        for actor in order {
            world.step(*actor, done[*actor], removes);
            done[*actor] += 1;
        }
        assert_eq!(world.copies.get(&sha256).is_some(), world.is_in_bucket, "{order:?}, {removes}, {has_copy}");
    }
    let known = copies.known();
    assert!(known.making.is_empty() && known.removals.is_empty());
}
