//! Measures the memory of a core for each known member, by counting allocations: the record, and its entries in the
//! list, in the rings and by name. Connections belong to the transport. Run `cargo bench -p phin-benches --bench
//! memory`.

use std::{
    alloc::System,
    io::{self, Write},
};

use phin_benches::{member, template};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> io::Result<()> {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u32] = if is_measured { &[100, 1_000, 10_000, 100_000] } else { &[10] };
    let mut out = io::stdout().lock();
    writeln!(out, "{:>9}  {:>16}", "members", "bytes per member")?;
    for &members in sizes {
        let region = Region::new(ALLOCATOR);
        let swim = member(0, &template(members));
        let held = region.change();
        let bytes = held.bytes_allocated - held.bytes_deallocated;
        writeln!(out, "{members:>9}  {:>16}", bytes / members as usize)?;
        drop(swim);
    }
    Ok(())
}
