//! The notices of the shims, as messages.
//!
//! Job: a message for each notice of the wire, once per process. Invariant: a notice with an unknown code is shown with
//! its number, never dropped. Neighbour: `builder` collects the messages into the profile.

use rscalene_wire as wire;
use wire::{Kind, NoticeCode};

use super::inline;
use crate::profile::book::Book;
use crate::profile::model::{Notice, codes};
use crate::transport::event::{CodeDef, Counters};

/// Most frames of a stack read by the shim and the launcher.
pub(crate) const MOST_FRAMES: usize = 1_024;
/// Below this percentage of the looks that were due, places of waits are unknown.
const TOO_FEW_LOOKS: u32 = 10;

/// The message for a notice of process `pid`.
pub(crate) fn message(pid: u32, notice: &wire::Notice) -> Notice {
    let detail = notice.detail;
    let text = match notice.code {
        // Before 3.11, the shim sends this notice and records nothing.
        NoticeCode::UNSUPPORTED_VERSION if detail == 0 => {
            "an interpreter that does not tell its version is not supported, so nothing of it was recorded".to_owned()
        }
        NoticeCode::UNSUPPORTED_VERSION if detail < 0x030b_0000 => {
            format!("Python {} is not supported, so nothing of it was recorded", version(detail))
        }
        NoticeCode::UNSUPPORTED_VERSION => {
            format!("Python {} is not supported, so nothing but totals was recorded", version(detail))
        }
        NoticeCode::UNSUPPORTED_BUILD => format!(
            "this build of Python {} (debug or free-threaded) is not supported, so nothing but totals was recorded",
            version(detail)
        ),
        NoticeCode::PERF_DENIED => {
            format!("perf events are denied (errno {detail}), so CPU timers sample instead, at the kernel's tick")
        }
        NoticeCode::NO_TIMER => {
            format!("a thread has no timer (errno {detail}), so its CPU time is in the totals alone")
        }
        NoticeCode::HOOKS_REFUSED => "the allocator hooks were refused, so memory is not complete".to_owned(),
        NoticeCode::SIGURG_BLOCKED => {
            format!("thread {detail} blocks SIGURG and was sent one, so it is not sampled until it takes it")
        }
        NoticeCode::FILTERED if detail != 0 => {
            "it set up a filter that ends it for system calls that samples need (seccomp), so nothing \
             but its totals is seen from then on"
                .to_owned()
        }
        NoticeCode::FILTERED => {
            "it set up a filter that ends it for system calls of the recorder (seccomp), so kernel \
             time, new threads and programs that it starts are not seen from then on"
                .to_owned()
        }
        NoticeCode::MEMORY_UNREADABLE => {
            "the launcher may not read its memory (CAP_SYS_PTRACE allows it), so what it waits for is unknown"
                .to_owned()
        }
        NoticeCode::LAYOUT_UNKNOWN => {
            format!("the launcher does not know the layout of Python {}, so its waiting is unknown", version(detail))
        }
        NoticeCode::LOOKS_MISSED if detail < TOO_FEW_LOOKS => format!(
            "other programs had the processors, so that {detail} % of the looks at it came about: too few to tell \
             what it waits for"
        ),
        NoticeCode::LOOKS_MISSED => format!(
            "other programs had the processors, so that {detail} % of the looks at it came about: what lines waited \
             is approximate, and so are CPU figures of a `Profiler`"
        ),
        code => {
            format!("the recorder reports notice {} (detail {detail}), which this build does not know", code.number())
        }
    };
    Notice::of_process(pid, notice.code.name().map_or(codes::OTHER.to_owned(), str::to_ascii_lowercase), text)
}

/// True if the notice means that the waits of the process cannot be observed.
pub(crate) fn hides_waits(notice: &wire::Notice) -> bool {
    matches!(notice.code, NoticeCode::MEMORY_UNREADABLE | NoticeCode::LAYOUT_UNKNOWN)
        || notice.code == NoticeCode::LOOKS_MISSED && notice.detail < TOO_FEW_LOOKS
}

/// The message for process `pid` if its self-test failed.
pub(crate) fn refused_frames(pid: u32) -> Notice {
    let text = "frames read from outside differ from the interpreter's own, so no line is trusted and all time is outside scope";
    Notice::of_process(pid, codes::FRAMES_REFUSED, text)
}

/// The message about a function whose line table could not be read.
pub(crate) fn unread_lines(code: &CodeDef) -> Notice {
    let text = format!(
        "the line table of `{}` ({}) could not be read, so all its time stands on its first line, {}",
        code.qualname, code.filename, code.def.first_line
    );
    Notice::of_run(codes::LINES_UNKNOWN, text)
}

/// The message about stacks with more frames than are read.
pub(crate) fn deep_stacks() -> Notice {
    let text = "some stacks have more than 1,024 frames, of which the innermost were read: time of their outermost \
                callers is too low, and calls stand below no caller";
    Notice::of_run(codes::DEEP_STACKS, text)
}

/// The message about records that process `pid` lost, by kind; `None` if the process lost none.
pub(crate) fn losses(pid: u32, counters: &Counters) -> Option<Notice> {
    let of_kind = |(number, &count): (usize, &u64)| {
        let what = match u8::try_from(number).ok().and_then(Kind::from_u8) {
            Some(Kind::CpuSample) => "CPU samples",
            Some(Kind::Alloc) => "allocation samples",
            Some(Kind::Free) => "ends of allocations",
            Some(Kind::Copy) => "copy samples",
            Some(Kind::CodeDef | Kind::StackDef) => "names of code and stacks",
            _ => "other records",
        };
        (what, count)
    };
    let apart = [("frames that could not be read", counters.frames_rejected), ("records cut off", counters.malformed)];
    let parts: Vec<String> = counters
        .lost
        .iter()
        .enumerate()
        .map(of_kind)
        .chain(apart)
        .filter(|&(_, count)| count > 0)
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    let text = format!("lost records: {}", parts.join(", "));
    (!parts.is_empty()).then(|| Notice::of_process(pid, codes::LOST_RECORDS, text))
}

/// The messages about limits that were reached. Further processes and threads share the last row. The innermost frames
/// of `folded` call paths are charged to their callers. `texts` programs of command lines share a name. Further
/// sections and `notices` notices are left out.
pub(crate) fn left_out(book: &Book, (folded, texts): (u64, u64), notices: u64) -> Vec<Notice> {
    let (processes, threads) = book.overflow;
    let sections = book.sections_left_out;
    let shared = |count: u64, what: &str| {
        format!("there were too many {what} for a row each: the last {} are told as one", count + 1)
    };
    let all = [
        (processes, codes::MANY_PROCESSES, shared(processes, "processes")),
        (threads, codes::MANY_THREADS, shared(threads, "threads")),
        (
            sections,
            codes::MANY_SECTIONS,
            format!("there were too many names of sections: {sections} calls are in no row"),
        ),
        (
            folded,
            codes::FOLDED_PATHS,
            format!(
                "there were too many call paths for the tree of calls: the innermost frames of {folded} are told as their callers; \
                 lines and functions in the tables are complete"
            ),
        ),
        (
            texts,
            codes::MANY_TEXTS,
            format!("there were too many programs with texts of their own: {texts} are told as `{}`", inline::OTHERS),
        ),
        (notices, codes::MANY_NOTICES, format!("{notices} more notices were left out")),
    ];
    all.into_iter().filter(|(count, ..)| *count > 0).map(|(_, code, text)| Notice::of_run(code, text)).collect()
}

/// `jemalloc` for `/usr/lib/libjemalloc.so.2`.
pub(crate) fn allocator(library: &str) -> String {
    let file = library.rsplit('/').next().unwrap_or(library);
    let stem = file.split(".so").next().unwrap_or(file);
    stem.strip_prefix("lib").filter(|rest| !rest.is_empty()).unwrap_or(stem).to_owned()
}

/// True for versions whose frames can be read.
pub(crate) fn is_supported(hex: u32) -> bool {
    let [major, minor, ..] = hex.to_be_bytes();
    major == 3 && (11..=15).contains(&minor)
}

/// `3.11.7` for `0x030b07f0`.
pub(crate) fn version(hex: u32) -> String {
    let [major, minor, micro, level] = hex.to_be_bytes();
    let suffix = match level >> 4 {
        0xa => format!("a{}", level & 15),
        0xb => format!("b{}", level & 15),
        0xc => format!("rc{}", level & 15),
        _ => String::new(),
    };
    format!("{major}.{minor}.{micro}{suffix}")
}

#[cfg(test)]
mod tests {
    use rscalene_wire::Kind;

    use super::{allocator, losses, version};
    use crate::transport::event::Counters;

    #[test]
    fn notices_name_the_lost_records() {
        let mut counters = Counters::default();
        assert_eq!(losses(7, &counters), None);
        counters.lost[Kind::CpuSample as usize] = 2;
        counters.frames_rejected = 1;
        let notice = losses(7, &counters).expect("some were lost");
        assert_eq!(notice.to_string(), "process 7: lost records: CPU samples 2, frames that could not be read 1");
        assert_eq!((notice.code.as_str(), notice.process), ("lost_records", Some(7)));
    }

    #[test]
    fn an_allocator_is_named_as_people_name_it() {
        assert_eq!(allocator("/usr/lib/libjemalloc.so.2"), "jemalloc");
        assert_eq!(allocator("libtcmalloc_minimal.so.4.5.10"), "tcmalloc_minimal");
        assert_eq!(allocator("/opt/lib"), "lib");
    }

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(version(0x030b_07f0), "3.11.7");
        assert_eq!(version(0x030f_00a5), "3.15.0a5");
        assert_eq!(version(0x030e_00c2), "3.14.0rc2");
    }
}
