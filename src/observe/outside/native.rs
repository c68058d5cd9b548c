//! Native frames of a thread that is stopped for a single read.
//!
//! Job: unwind a thread's native stack by the unwind tables of the mapped libraries of its process, and name the
//! functions. Invariant: a thread is stopped for a single read, and continues whatever the result of the read is; the
//! thread itself is not changed. Neighbours: `now` merges these frames with Python's frames; `framehop` unwinds,
//! `symbols` names.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use framehop::{Error as UnwindError, ExplicitModuleSectionInfo, Module, Unwinder};
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};
use rscalene_interp::Memory;

use super::frame::FrameNow;
use super::refused::Refused;
use crate::observe::modules::{self, Mapping};
use crate::observe::remote::memory::ProcessMemory;
use crate::observe::root::Root;
use crate::observe::symbols::Symbols;

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{CacheAarch64 as Cache, UnwindRegsAarch64 as Registers, UnwinderAarch64 as Engine};
#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64 as Registers, UnwinderX86_64 as Engine};

/// Most frames of a stack.
const MAX_FRAMES: usize = 2_048;

/// The unwind tables, symbols and memory of a process.
pub(super) struct Unwinders {
    engine: Engine<Vec<u8>>,
    mappings: Vec<Mapping>,
    symbols: Symbols,
    memory: ProcessMemory,
}

impl Unwinders {
    /// Reads the unwind tables of all mapped files of process `pid`.
    pub(super) fn of(pid: u32) -> Result<Self, Refused> {
        let mappings = modules::executable(pid).map_err(|_| Refused::denied(pid))?;
        if let Some(tracer) = super::refused::tracer(pid) {
            return Err(Refused::traced(pid, tracer));
        }
        let root = Root::of(pid);
        let (mut engine, mut inodes) = (Engine::new(), HashMap::new());
        for mapping in mappings.iter().filter(|mapping| mapping.inode != 0) {
            inodes.insert(mapping.module.path.clone(), mapping.inode);
            if let Some(module) = module(mapping, &root.path(&mapping.module.path)) {
                engine.add_module(module);
            }
        }
        Ok(Self { engine, mappings, symbols: Symbols::new(inodes).under(root), memory: ProcessMemory::new(pid) })
    }

    fn unwind(&self, pc: u64, registers: Registers) -> Vec<u64> {
        self.memory.forget();
        let mut cache = Cache::<_>::new();
        let mut read = |address| self.memory.u64(address).ok_or(());
        let mut frames = self.engine.iter_frames(pc, registers, &mut cache, &mut read);
        let mut all = Vec::new();
        while let Ok::<_, UnwindError>(Some(frame)) = frames.next() {
            all.push(frame.address_for_lookup());
            if all.len() >= MAX_FRAMES {
                break;
            }
        }
        all
    }

    fn named(&mut self, pc: u64) -> FrameNow {
        let module =
            self.mappings.iter().map(|mapping| &mapping.module).find(|module| (module.start..module.end).contains(&pc));
        let Some(module) = module else { return FrameNow::native(format!("0x{pc:x}"), String::new()) };
        let offset = pc - module.start + module.offset;
        let name = self.symbols.function(&module.path, offset).map(str::to_owned);
        let library = module.path.rsplit('/').next().unwrap_or(&module.path).to_owned();
        FrameNow::native(name.unwrap_or_else(|| format!("0x{offset:x}")), library)
    }
}

/// The unwind tables of a mapped file.
fn module(mapping: &Mapping, path: &PathBuf) -> Option<Module<Vec<u8>>> {
    let bytes = std::fs::read(path).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let mapped = &mapping.module;
    let length = mapped.end.saturating_sub(mapped.start);
    let segment = file.segments().find(|segment| {
        let executable = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
        executable && (mapped.offset..mapped.offset + length).contains(&segment.file_range().0)
    })?;
    let (offset, _) = segment.file_range();
    let bias = mapped.start.wrapping_add(offset).wrapping_sub(mapped.offset).wrapping_sub(segment.address());
    let section = |name: &str| {
        let section = file.section_by_name(name)?;
        Some((section.address()..section.address() + section.size(), section.uncompressed_data().ok()?.into_owned()))
    };
    let (text, frames, header) = (section(".text"), section(".eh_frame"), section(".eh_frame_hdr"));
    let (text_svma, text) = text.unzip();
    let (eh_frame_svma, eh_frame) = frames.unzip();
    let (eh_frame_hdr_svma, eh_frame_hdr) = header.unzip();
    let got_svma = section(".got").map(|(range, _)| range);
    let info = ExplicitModuleSectionInfo {
        text_svma,
        text,
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        got_svma,
        ..ExplicitModuleSectionInfo::default()
    };
    Some(Module::new(mapped.path.clone(), mapped.start..mapped.end, bias, info))
}

/// Stops thread `tid`, reads its native stack, calls `meanwhile`, and lets the thread continue. Names are looked up
/// afterwards.
///
/// # Errors
/// The kernel does not allow this process to stop the thread.
pub(super) fn stopped(
    pid: u32,
    tid: u32,
    unwinders: &mut Unwinders,
    meanwhile: impl FnOnce(),
) -> io::Result<Vec<FrameNow>> {
    debug_assert!(pid > 0);
    let stop = Stop::of(tid)?;
    let addresses = stop.registers().map(|(pc, registers)| unwinders.unwind(pc, registers));
    meanwhile();
    drop(stop);
    Ok(addresses?.into_iter().map(|pc| unwinders.named(pc)).collect())
}

/// A thread that stays stopped until this value is dropped.
struct Stop(libc::pid_t);

impl Stop {
    fn of(tid: u32) -> io::Result<Self> {
        let tid = tid.cast_signed();
        trace(libc::PTRACE_SEIZE, tid, 0)?;
        let stop = Self(tid);
        trace(libc::PTRACE_INTERRUPT, tid, 0)?;
        let mut status = 0;
        // SAFETY: `status` has space for the answer.
        while unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        if libc::WIFSTOPPED(status) { Ok(stop) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    #[cfg(target_arch = "x86_64")]
    fn registers(&self) -> io::Result<(u64, Registers)> {
        // SAFETY: all bytes zero is a valid set of registers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        trace(libc::PTRACE_GETREGS, self.0, (&raw mut registers) as usize)?;
        Ok((registers.rip, Registers::new(registers.rip, registers.rsp, registers.rbp)))
    }

    #[cfg(target_arch = "aarch64")]
    fn registers(&self) -> io::Result<(u64, Registers)> {
        // SAFETY: all bytes zero is a valid set of registers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let mut buffer = libc::iovec { iov_base: (&raw mut registers).cast(), iov_len: size_of_val(&registers) };
        // SAFETY: the kernel writes at most the bytes of `buffer`.
        let answer = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, self.0, libc::NT_PRSTATUS, &raw mut buffer) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((registers.pc, Registers::new(registers.regs[30], registers.sp, registers.regs[29])))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        // Detaching fails only for a thread that has ended.
        let _ = trace(libc::PTRACE_DETACH, self.0, 0);
    }
}

fn trace(request: libc::c_uint, tid: libc::pid_t, data: usize) -> io::Result<()> {
    // SAFETY: every request here reads or writes this process' memory only through `data`, which is null or valid.
    let answer = unsafe {
        libc::ptrace(
            request,
            tid,
            std::ptr::null_mut::<libc::c_void>(),
            std::ptr::without_provenance_mut::<libc::c_void>(data),
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
