//! The same work on many things, on as many cores as there are: a repository of thousands of objects is read while a
//! person waits.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Fewer are not worth another thread.
const FEWEST: usize = 32;

/// Does `work` on each, and gives what came of it in the order of the items. `tell` hears, now and then, how many are
/// left.
pub(super) fn each<Item: Sync, Done: Send>(
    items: &[Item],
    work: impl Fn(&Item) -> Done + Sync,
    mut tell: impl FnMut(usize),
) -> Vec<Done> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(items.len() / FEWEST).max(1);
    let mut shares = items.chunks(items.len().div_ceil(threads).max(1));
    let own = shares.next().unwrap_or_default();
    let finished = AtomicUsize::new(0);
    let counted = |item: &Item| {
        let done = work(item);
        finished.fetch_add(1, Ordering::Relaxed);
        done
    };
    thread::scope(|scope| {
        let counted = &counted;
        let others: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(counted).collect::<Vec<_>>())).collect();
        let mut all = Vec::with_capacity(items.len());
        for item in own {
            tell(items.len().saturating_sub(finished.load(Ordering::Relaxed)));
            all.push(counted(item));
        }
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn what_comes_of_many_things_keeps_their_order() {
        for count in [0, 1, 31, 64, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let mut left = Vec::new();
            let doubled = each(&items, |item| item * 2, |count| left.push(count));
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
            assert!(left.is_sorted_by(|one, other| one >= other), "{left:?}");
        }
    }
}
