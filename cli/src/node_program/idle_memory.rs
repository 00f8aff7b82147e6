//! What a node that has become quiet gives back: heap that is free and that the allocator holds all the same, and the part of the program that was read at its start or for
//! its last work.
//!
//! Nothing is lost by it: the heap's pages are free, and the program's come back from the page cache, sixteen at a time, when something runs on them again.

#[cfg(target_os = "linux")]
pub(super) use linux::keep_low;

#[cfg(not(target_os = "linux"))]
pub(super) fn keep_low() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;
    use std::ops::Range;
    use std::time::Duration;

    use tokio::time::sleep;

    /// How often is looked whether the node is quiet.
    const LOOK: Duration = Duration::from_secs(5);
    /// `_SC_CLK_TCK`: hundredths of a second on every Linux.
    const TICKS_PER_SECOND: u64 = 100;
    /// A quiet node takes less of a processor than one part in so many.
    const QUIET_SHARE: u64 = 50;

    /// From then on, memory is given back each time that the node has worked and is quiet again.
    pub(in super::super) fn keep_low() {
        tokio::spawn(async {
            let mut has_worked = true;
            while let Ok(before) = ticks() {
                sleep(LOOK).await;
                let Ok(now) = ticks() else { return };
                let is_quiet = (now - before) * QUIET_SHARE < LOOK.as_secs() * TICKS_PER_SECOND;
                // What it takes itself is not counted as work of the node.
                if is_quiet && has_worked && tokio::task::spawn_blocking(give_back).await.is_err() {
                    return;
                }
                has_worked = !is_quiet;
            }
        });
    }

    /// Processor time that this process has used.
    fn ticks() -> io::Result<u64> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        // proc_pid_stat(5): the name, in parentheses, may hold anything; utime and stime are the 12th and 13th word behind it.
        let (_, words) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
        Ok(words.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum())
    }

    fn give_back() {
        heap::trim();
        if let Err(error) = give_program_back() {
            tracing::debug!(%error, "the part of the program that is not needed stays in memory");
        }
    }

    fn give_program_back() -> io::Result<()> {
        let program = fs::read_link("/proc/self/exe")?;
        let maps = fs::read_to_string("/proc/self/smaps")?;
        for range in unchanged(&maps, &program.to_string_lossy()) {
            program::forget(range)?;
        }
        Ok(())
    }

    /// Where `maps` (proc_pid_smaps(5)) has parts of the file `program` that cannot be written, and of which no page is another than the file's.
    fn unchanged(maps: &str, program: &str) -> Vec<Range<usize>> {
        let mut found = vec![];
        let mut last = None;
        for line in maps.lines() {
            if let Some(head) = Head::parse(line) {
                last = (head.path == program && head.is_private_and_unwritable).then_some(head.range);
            } else if line.split_whitespace().eq(["Anonymous:", "0", "kB"]) {
                found.extend(last.take());
            }
        }
        found
    }

    /// The first line about a mapping.
    struct Head<'a> {
        range: Range<usize>,
        is_private_and_unwritable: bool,
        path: &'a str,
    }

    impl<'a> Head<'a> {
        fn parse(line: &'a str) -> Option<Self> {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
            // Permissions, offset, device and inode, then spaces, then the path, which may hold some.
            let mut words = rest.splitn(5, ' ');
            let permissions = words.next()?;
            let path = words.nth(3)?.trim_start();
            Some(Self { range, is_private_and_unwritable: matches!(permissions, "r-xp" | "r--p"), path })
        }
    }

    mod program {
        use std::io;
        use std::ops::Range;

        use rustix::mm::{Advice, madvise};

        #[expect(unsafe_code, reason = "madvise(2) may take away what others rely on")]
        pub(super) fn forget(unchanged: Range<usize>) -> io::Result<()> {
            // SAFETY: the range is a mapping of this program's own file, which stays mapped and unwritable as long as the program runs. Each of its pages is the file's,
            // so that whoever reads one next gets the same bytes from there.
            unsafe { madvise(std::ptr::without_provenance_mut(unchanged.start), unchanged.len(), Advice::LinuxDontNeed) }
                .map_err(io::Error::from)
        }
    }

    mod heap {
        #[cfg(target_env = "gnu")]
        #[expect(unsafe_code, reason = "the standard library has no name for malloc_trim(3), which may be called at any time")]
        pub(super) fn trim() {
            unsafe extern "C" {
                safe fn malloc_trim(keep: usize) -> std::ffi::c_int;
            }
            malloc_trim(0);
        }

        #[cfg(not(target_env = "gnu"))]
        pub(super) fn trim() {}
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::os::unix::fs::FileExt;

        const MAPS: &str = "\
00400000-00500000 r--p 00000000 fd:00 12 /opt/a b/node (deleted)
Rss:                  12 kB
Anonymous:             0 kB
00500000-00700000 r-xp 00100000 fd:00 12                                 /opt/a b/node (deleted)
Anonymous:             0 kB
AnonHugePages:         0 kB
00700000-00710000 r--p 00300000 fd:00 12                                 /opt/a b/node (deleted)
Anonymous:            16 kB
00710000-00720000 rw-p 00310000 fd:00 12                                 /opt/a b/node (deleted)
Anonymous:             0 kB
00720000-00730000 r-xp 00000000 00:00 0
Anonymous:             0 kB
00730000-00740000 r-xp 00000000 fd:00 13                                 /opt/a b/node
Anonymous:             0 kB
";

        #[test]
        fn only_what_is_as_in_the_file_of_the_program_is_given_back() {
            let found = unchanged(MAPS, "/opt/a b/node (deleted)");
            assert_eq!(found, [0x40_0000..0x50_0000, 0x50_0000..0x70_0000]);
        }

        #[test]
        fn what_was_given_back_is_there_when_it_is_needed() {
            const PAGE_BYTES: usize = 4096;
            const PAGES: usize = 256;
            static KEPT: [u8; PAGES * PAGE_BYTES] = [7; PAGES * PAGE_BYTES];
            // proc_pid_pagemap(5): eight bytes for each page, of which the highest bit says that it is there.
            let present = || {
                let mut words = [0; 8 * PAGES];
                let at = (KEPT.as_ptr().addr() / PAGE_BYTES * 8) as u64;
                fs::File::open("/proc/self/pagemap").unwrap().read_exact_at(&mut words, at).unwrap();
                words.chunks(8).filter(|word| word[7] & 0x80 != 0).count()
            };
            let sum = || std::hint::black_box(&KEPT).iter().map(|byte| usize::from(*byte)).sum::<usize>();
            assert_eq!(sum(), 7 * KEPT.len());
            assert_eq!(present(), PAGES);
            give_program_back().unwrap();
            // Those at the edges are brought back with their neighbours.
            assert!(present() < PAGES / 4, "{} pages of {PAGES} are still there", present());
            assert_eq!(sum(), 7 * KEPT.len());
            heap::trim();
        }
    }
}
