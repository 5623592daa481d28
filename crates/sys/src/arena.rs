//! A heap for programs that live for milliseconds.
//!
//! The C library maps and unmaps a page for almost every new size of a block, and each of these pages is faulted in anew; a
//! container's start and end has more of these calls than of its own. Here blocks come from one static area, by powers of two,
//! and freed ones are used again. What is large, or finds the area used up, goes to the system's heap, so that nothing grows
//! without bound. A program that stays gives the pages that no block lies on back when it has nothing to do ([`trim_arena`]).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// The static area; pages of it that are never used cost nothing.
const SIZE: usize = 512 << 10;
const SMALLEST: usize = 16;
/// Blocks of 16 bytes to 32 KiB; larger ones are the system's.
const CLASSES: usize = 12;
const PAGE: usize = 4096;
const PAGES: usize = SIZE / PAGE;

/// Use it as a program's `#[global_allocator]`.
#[derive(Debug, Default)]
pub struct Arena;

#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; SIZE]>);

/// The first free block of each class, each of which begins with the address of the next, and where the unused rest begins.
struct State {
    free: [*mut u8; CLASSES],
    used: usize,
    /// How many taken blocks touch each page.
    taken: [u16; PAGES],
    /// Pages before the rest that were given back: nothing lies on them, and no list leads there.
    empty: [bool; PAGES],
}

struct Guarded {
    taken: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: bytes of the area are only reached through blocks, each of which one caller owns.
unsafe impl Sync for Area {}
// SAFETY: the state is only reached by who has set `taken`.
unsafe impl Sync for Guarded {}

static AREA: Area = Area(UnsafeCell::new([0; SIZE]));
static HEAP: Guarded = Guarded {
    taken: AtomicBool::new(false),
    state: UnsafeCell::new(State {
        free: [null_mut(); CLASSES],
        used: 0,
        taken: [0; PAGES],
        empty: [false; PAGES],
    }),
};

impl Guarded {
    /// Runs `work` unless another thread is at it: nobody waits here, so that a fork in between locks nobody out.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> Option<T> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `taken` was not set, and is until the end of this function: the reference is the only one.
        let answer = work(unsafe { &mut *self.state.get() });
        self.taken.store(false, Ordering::Release);
        Some(answer)
    }
}

/// The class whose blocks hold `layout`.
fn class(layout: Layout) -> Option<usize> {
    // A block lies at a multiple of its size, as far as pages go.
    let size = layout.size().max(layout.align()).max(SMALLEST);
    let class = (size.next_power_of_two() / SMALLEST).trailing_zeros() as usize;
    (class < CLASSES && layout.align() <= 4096).then_some(class)
}

fn is_ours(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(AREA.0.get() as usize) < SIZE
}

/// The pages that a block at `start` in the area touches.
fn pages(start: usize, size: usize) -> std::ops::Range<usize> {
    start / PAGE..(start + size).div_ceil(PAGE)
}

impl State {
    fn take(&mut self, class: usize) -> *mut u8 {
        let Some(start) = self.find(class) else {
            return null_mut();
        };
        for page in pages(start, SMALLEST << class) {
            self.taken[page] += 1;
        }
        // SAFETY: `start` lies within the area.
        unsafe { AREA.0.get().cast::<u8>().add(start) }
    }

    /// Where a block begins that is free from now on to be taken.
    fn find(&mut self, class: usize) -> Option<usize> {
        let block = self.free[class];
        if !block.is_null() {
            // SAFETY: a free block of ours, which `list` wrote the next one's address to.
            self.free[class] = unsafe { block.cast::<*mut u8>().read() };
            return Some(block as usize - AREA.0.get() as usize);
        }
        let size = SMALLEST << class;
        if let Some(start) = self.refill(class, size) {
            return Some(start);
        }
        let start = self.used.next_multiple_of(size.min(PAGE));
        if start + size > SIZE {
            return None;
        }
        self.used = start + size;
        Some(start)
    }

    /// A block on pages that were given back; what it leaves of its page is listed.
    fn refill(&mut self, class: usize, size: usize) -> Option<usize> {
        let wanted = size.div_ceil(PAGE);
        let first = self
            .empty
            .windows(wanted)
            .position(|run| run.iter().all(|empty| *empty))?;
        self.empty[first..first + wanted].fill(false);
        let start = first * PAGE;
        for rest in (start + size..start + PAGE).step_by(size) {
            self.list(rest, class);
        }
        Some(start)
    }

    fn give(&mut self, block: *mut u8, class: usize) {
        let start = block as usize - AREA.0.get() as usize;
        for page in pages(start, SMALLEST << class) {
            self.taken[page] -= 1;
        }
        self.list(start, class);
    }

    /// Puts the free block at `start` in front of its class's list.
    fn list(&mut self, start: usize, class: usize) {
        // SAFETY: the block lies in the area, nobody owns it, and it is at least 16 bytes large and aligned to its size.
        unsafe {
            let block = AREA.0.get().cast::<u8>().add(start);
            block.cast::<*mut u8>().write(self.free[class]);
            self.free[class] = block;
        }
    }

    /// Takes the free blocks of pages without a taken one off their lists and gives these pages back.
    fn trim(&mut self) {
        let base = AREA.0.get() as usize;
        let whole = self.used / PAGE;
        let idle = |state: &State, start: usize, size: usize| {
            pages(start, size).all(|page| page < whole && state.taken[page] == 0)
        };
        for class in 0..CLASSES {
            let (mut block, size) = (self.free[class], SMALLEST << class);
            self.free[class] = null_mut();
            while !block.is_null() {
                // SAFETY: as in `find`.
                let next = unsafe { block.cast::<*mut u8>().read() };
                let start = block as usize - base;
                if !idle(self, start, size) {
                    self.list(start, class);
                }
                block = next;
            }
        }
        let mut page = 0;
        while page < whole {
            let run = (page..whole).take_while(|page| self.taken[*page] == 0 && !self.empty[*page]);
            let count = run.count();
            if count > 0 {
                self.empty[page..page + count].fill(true);
                let start = (base + page * PAGE) as *mut libc::c_void;
                // SAFETY: pages of the area on which nothing lies and to which no list leads: what they hold is nobody's, also
                // if the kernel should refuse.
                unsafe { libc::madvise(start, count * PAGE, libc::MADV_DONTNEED) };
            }
            page += count.max(1);
        }
    }
}

/// Gives the arena's pages that no block lies on back to the kernel. For a moment with nothing to do: it looks at every block.
pub fn trim_arena() {
    HEAP.with(State::trim);
}

// SAFETY: a block holds its layout, belongs to one owner until it is given back, and goes back to the heap that it came from,
// which its address tells. Nothing here panics.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = class(layout).and_then(|class| HEAP.with(|state| state.take(class)));
        match block {
            Some(block) if !block.is_null() => block,
            // SAFETY: the caller's promise is passed on.
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_ours(block) {
            // SAFETY: what is not from the area is from the system.
            return unsafe { System.dealloc(block, layout) };
        }
        if let Some(class) = class(layout) {
            // Should another thread be at it the block is lost, which the area's size bounds.
            _ = HEAP.with(|state| state.give(block, class));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_ours(block) {
            // SAFETY: as in `dealloc`.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that `size` with this alignment is a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if class(wanted) == class(layout) {
            return block;
        }
        // SAFETY: the caller's promises; both blocks hold the bytes that are copied, and they are different ones.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn classes_hold_their_layouts() {
        assert_eq!(class(layout(1, 1)), Some(0));
        assert_eq!(class(layout(17, 1)), Some(1));
        assert_eq!(class(layout(8, 4096)), Some(8));
        assert_eq!(class(layout(32 << 10, 8)), Some(11));
        assert_eq!(class(layout((32 << 10) + 1, 8)), None);
        assert_eq!(class(layout(8, 8192)), None);
    }

    #[test]
    fn pages_that_were_given_back_are_used_again() {
        let mut state = State {
            free: [null_mut(); CLASSES],
            used: SIZE - 64 * PAGE,
            taken: [0; PAGES],
            empty: [true; PAGES],
        };
        state.empty[PAGES - 64..].fill(false);
        // The last 64 pages are this test's alone only as long as the others stay below: their heap is another state's.
        let first = state.refill(11, 32 << 10).expect("eight pages");
        assert_eq!((first, state.empty[7], state.empty[8]), (0, false, true));
        assert_eq!(pages(first, 32 << 10), 0..8);
        assert_eq!(pages(8 * PAGE + 4080, 16), 8..9);
        state.empty.fill(false);
        state.empty[3] = true;
        assert_eq!(state.refill(9, 8 << 10), None);
        assert_eq!(state.refill(8, 4 << 10), Some(3 * PAGE));
    }

    /// Several threads at once, so that blocks of both heaps mix; each block keeps what was written to it.
    #[test]
    fn blocks_are_their_owners_alone() {
        let work = |seed: usize| {
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            for round in 0..20_000usize {
                let random = (round * 7919 + seed * 104_729) % 1009;
                if held.len() > 64 || (random.is_multiple_of(3) && !held.is_empty()) {
                    let (block, layout, mark) = held.swap_remove(random % held.len());
                    // SAFETY: allocated below with this layout, and all its bytes written.
                    unsafe {
                        let bytes = std::slice::from_raw_parts(block, layout.size());
                        assert!(bytes.iter().all(|byte| *byte == mark));
                        Arena.dealloc(block, layout);
                    }
                    continue;
                }
                if random == 7 {
                    trim_arena();
                }
                let (old, mark) = (layout(1 + random * 3, 1 << (random % 8)), random as u8);
                // SAFETY: sizes are not zero; what is written lies within the block.
                unsafe {
                    let block = Arena.alloc(old);
                    assert_eq!(block as usize % old.align(), 0);
                    block.write_bytes(mark, old.size());
                    let new = layout(old.size() * 2, old.align());
                    let block = Arena.realloc(block, old, new.size());
                    assert_eq!(block as usize % new.align(), 0);
                    assert_eq!(block.add(old.size() - 1).read(), mark);
                    block.write_bytes(mark, new.size());
                    held.push((block, new, mark));
                }
            }
            for (block, layout, _) in held {
                // SAFETY: allocated above with this layout.
                unsafe { Arena.dealloc(block, layout) };
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || work(seed));
            }
        });
    }
}
