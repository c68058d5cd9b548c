//! The tasks of an idle event loop against `asyncio.all_tasks` and the coroutines' own attributes.

use std::collections::BTreeMap;

use rscalene::observe::locate::asyncio_section;
use rscalene_interp::{TaskSource, Walk, await_chain, first_local, tasks, threads, walk};
use serde_json::{Value, json};

use crate::target::{Target, interpreters};

/// An event loop in a thread of its own goes idle; the main thread says where its tasks stand.
const IDLE: &str = r#"
import asyncio, gc, time, types
async def leaf():
    x = 1
    await asyncio.sleep(1000)
async def plain():
    await leaf()
class Awaitable:
    def __await__(self):
        yield from leaf().__await__()
async def by_object():
    await Awaitable()
async def numbers():
    yield 1
    await leaf()
    yield 2
async def by_async_for():
    async for x in numbers():
        y = x
async def by_async_with():
    async with asyncio.timeout(999) if hasattr(asyncio, "timeout") else None:
        await leaf()
@types.coroutine
def by_old_generator():
    yield from leaf()
async def by_old():
    await by_old_generator()
async def by_gather():
    await asyncio.gather(plain(), plain())
async def by_task():
    await asyncio.create_task(plain())
async def by_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(plain())
async def by_wait():
    await asyncio.wait([asyncio.create_task(plain())])
async def by_event():
    await asyncio.Event().wait()
async def by_wait_for():
    await asyncio.wait_for(plain(), 999)
async def finished():
    return 1
async def main():
    global loop
    loop = asyncio.get_running_loop()
    kinds = [plain, by_object, by_async_for, by_async_with, by_old, by_gather, by_task, by_group, by_wait, by_event, by_wait_for, finished]
    ts = [asyncio.create_task(k(), name=k.__name__) for k in kinds]
    await asyncio.sleep(1000)
t = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
t.start()
time.sleep(0.2)
async def other_main():
    await asyncio.sleep(1000)
u = threading.Thread(target=lambda: asyncio.run(other_main()), daemon=True)
u.start()
time.sleep(0.5)
def chain(o):
    while o is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(o, kind + "_frame", None)
            if frame is not None:
                yield [id(frame.f_code), frame.f_lasti]
                o = getattr(o, {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}[kind])
                break
        else:
            kinds = (types.CoroutineType, types.AsyncGeneratorType)
            inner = [r for r in gc.get_referents(o) if isinstance(r, kinds)]
            if type(o).__name__ not in ("coroutine_wrapper", "async_generator_asend"):
                return
            o = inner[0]
def describe(tasks):
    return {str(id(t)): [t.get_name(), list(chain(t.get_coro()))] for t in tasks}
stop(tasks=describe(asyncio.all_tasks(loop)), loop=id(loop), loop_tid=t.native_id,
     run_forever=id(asyncio.BaseEventLoop.run_forever.__code__))
"#;

#[test]
fn the_tasks_of_an_idle_loop_are_at_their_await_lines() {
    for python in interpreters() {
        let target = Target::start(python, IDLE);
        let (mem, layout) = (&target.mem, &target.layout);
        let tstate = target.tstate_of(target.truth["loop_tid"].as_u64().unwrap());
        let mut interp = 0;
        threads(mem, layout, |thread| {
            interp = thread.interp;
            true
        });
        let source = TaskSource::find(mem, layout, interp, asyncio_section(target.pid())).expect("asyncio is imported");
        let mut own_loop = 0;
        let walked: Walk = walk(mem, layout, tstate, 100, |frame| {
            if Some(frame.code) == target.truth["run_forever"].as_u64() {
                own_loop = first_local(mem, layout, frame.frame).unwrap();
            }
            true
        });
        assert!(walked.frames > 3, "{python:?}: {walked:?}");
        assert_eq!(Some(own_loop), target.truth["loop"].as_u64(), "{python:?}");

        let mut seen = BTreeMap::new();
        let mut others = 0;
        assert!(tasks(mem, layout, source, (tstate, interp), |task| {
            if task.event_loop == own_loop {
                let mut frames = Vec::new();
                let awaited = await_chain(mem, layout, task, |frame| {
                    frames.push(json!([frame.code, frame.offset_bytes]));
                    true
                });
                assert_eq!(awaited.frames as usize, frames.len());
                seen.insert(task.task.to_string(), (frames, awaited));
            } else {
                others += 1;
            }
            true
        }));
        let said = target.truth["tasks"].as_object().unwrap();
        assert_eq!(seen.keys().collect::<Vec<_>>(), said.keys().collect::<Vec<_>>(), "{python:?}");
        for (task, (frames, awaited)) in &seen {
            let (name, chain) = (said[task][0].as_str().unwrap(), &said[task][1]);
            assert_eq!(&Value::from(frames.clone()), chain, "{python:?}: {name}");
            let outer = ["by_gather", "by_task", "by_group", "by_wait"].contains(&name)
                // Up to 3.11 wait_for makes a task of what it waits for.
                || (name == "by_wait_for" && layout.minor == 11);
            assert_eq!(awaited.for_tasks, outer, "{python:?}: {name} {awaited:?}");
        }
        assert!(others <= 1, "{python:?}");
    }
}

#[test]
fn a_process_that_never_imported_asyncio_has_no_tasks() {
    for python in interpreters() {
        let target = Target::start(python, "assert 'asyncio' not in sys.modules\nstop()\n");
        let mut interp = 0;
        threads(&target.mem, &target.layout, |thread| {
            interp = thread.interp;
            true
        });
        let source = TaskSource::find(&target.mem, &target.layout, interp, None);
        assert_eq!(source, None, "{python:?}");
    }
}
