//! Memory: none of it in huge pages, and what a burst has left behind given back to the system.
//!
//! The allocator gives freed memory back as a thread goes on allocating. A thread that falls idle after a storm of
//! connections would keep what the storm needed for as long as it stays idle: 10 KiB for each connection.

/// Keeps the system from backing the process with huge pages, where its setting for them is `always`; where it is
/// `madvise`, the allocator does not ask for them.
///
/// The first byte that is used of a huge page makes 2 MiB resident, which is what 5,000 idle clients take. Those of a
/// daemon at rest held 18 MiB for some 2 MiB in use, and saved no CPU time that could be measured.
pub fn refuse_huge_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "the system decides on huge pages");
    }
}

/// Gives back what the calling thread has freed. Takes some milliseconds after a storm, microseconds otherwise: for
/// threads that are idle, and not for shards.
pub fn give_back() {
    // SAFETY: may be called by any thread at any time; it touches only what is free, and the calling thread's own heap.
    // Where another allocator is in use, that heap is empty.
    #[expect(
        unsafe_code,
        reason = "the allocator's crate has no safe form of it; without it a storm stays resident"
    )]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Bytes that the allocator has of the system: what is in use and what it keeps. 0 where another allocator is in use.
pub fn committed() -> u64 {
    let mut committed = 0_usize;
    let nothing = std::ptr::null_mut();
    // SAFETY: every pointer is null, which the function leaves alone, or to a live variable of the right type.
    #[expect(unsafe_code, reason = "the allocator's crate has no safe form of it")]
    unsafe {
        libmimalloc_sys::mi_process_info(
            nothing,
            nothing,
            nothing,
            nothing,
            nothing,
            &raw mut committed,
            nothing,
            nothing,
        );
    }
    committed as u64
}
