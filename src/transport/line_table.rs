//! Line tables that are too long for the ring, read from the memory of their process.
//!
//! Job: read the table at the address that the shim sent instead of the table. A code object of 60,000 lines has a
//! table of 2 MiB, which would fill the ring. Invariants: the table is unchanged since the shim sent its address (the
//! first and last bytes are the same), otherwise the function returns `None`; a hostile process cannot make the
//! launcher read more than [`MOST_OF_A_PROCESS`]. Neighbours: `drain` calls [`read`], `profile::build` reports
//! functions without lines.

use rscalene_wire::TABLE_PLACE_BYTES;

use super::event::CodeDef;

/// Most bytes of a table: a million lines.
const MOST: u32 = 32 << 20;
/// Most bytes of all tables of a process.
pub(super) const MOST_OF_A_PROCESS: u64 = 256 << 20;

/// Reads the line table of `code` from process `pid`; `code.table` holds the table's address and its first and last
/// bytes. `left`: the bytes that the launcher may still read from the process. `None` if the process has ended, freed
/// the table, or may not be read.
pub(super) fn read(pid: u32, code: &CodeDef, left: &mut u64) -> Option<Vec<u8>> {
    let place: &[u8; TABLE_PLACE_BYTES] = code.table.as_slice().try_into().ok()?;
    let (address, ends) = place.split_first_chunk::<8>()?;
    let (start, end) = ends.split_first_chunk::<8>()?;
    let length = code.def.table_bytes;
    if length > MOST || u64::from(length) > *left {
        return None;
    }
    *left -= u64::from(length);
    let mut table = vec![0; usize::try_from(length).ok()?];
    let whole = read_memory(pid, u64::from_ne_bytes(*address), &mut table);
    (whole && table.starts_with(start) && table.ends_with(end)).then_some(table)
}

/// Fills `into` from `address` of process `pid`; false if any byte could not be read.
fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> bool {
    let (Ok(pid), Ok(there)) = (libc::pid_t::try_from(pid), usize::try_from(address)) else { return false };
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(there), iov_len: into.len() };
    // SAFETY: `local` spans `into`, which this function may write; the kernel checks `remote`, and this process never
    // touches that address.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read) == Ok(into.len())
}

#[cfg(test)]
mod tests {
    use rscalene_wire as wire;

    use super::*;

    /// A code object with a table of `table_bytes` bytes at `table`.
    fn code(table: &[u8], start: &[u8], end: &[u8]) -> CodeDef {
        let address = table.as_ptr() as u64;
        let place = [&address.to_ne_bytes()[..], start, end].concat();
        let def = wire::CodeDef { table_bytes: table.len() as u32, ..wire::CodeDef::default() };
        CodeDef { def, table: place, ..CodeDef::default() }
    }

    #[test]
    fn a_table_is_read_if_it_is_still_the_one_that_the_shim_saw() {
        let table: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let (pid, mut left) = (std::process::id(), MOST_OF_A_PROCESS);
        let (start, end) = (&table[..8], &table[table.len() - 8..]);
        assert_eq!(read(pid, &code(&table, start, end), &mut left), Some(table.clone()));
        assert_eq!(left, MOST_OF_A_PROCESS - 3_000_000);
        assert_eq!(read(pid, &code(&table, &[0xff; 8], end), &mut left), None, "another table lies there");
        left = 2_999_999;
        assert_eq!(read(pid, &code(&table, start, end), &mut left), None, "more than is left");
        let mut gone = code(&table, start, end);
        gone.table[..8].fill(0);
        assert_eq!(read(pid, &gone, &mut MOST_OF_A_PROCESS.clone()), None, "nothing is mapped there");
    }
}
