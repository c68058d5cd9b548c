//! Rules for waits that count as idle.
//!
//! Job: separate a thread that waits for work, or for another thread of the program to end, from a thread that waits
//! for an answer (a query, a lock, a sleep). Idle threads delay no work: a pool of forty workers idles forty seconds a
//! second, and the time of a join is on the lines of the joined thread. Invariant: the names of the innermost frames
//! alone decide, and only names of the standard library and of servers: user code that a server calls is never idle.
//! Neighbour: `stacks` asks once a stack.
//!
//! Frames are read from the innermost outwards as long as they belong to the functions of waiting (`Condition.wait`
//! below `Queue.get`); the first frame of another file ends the search.

/// The end of a file's path, and the functions of the file in which a thread idles.
type Idle = (&'static str, &'static [&'static str]);

/// Functions in which threads idle. A file with an empty list never decides: its callers decide.
const IDLE: [Idle; 38] = [
    ("/threading.py", &["Event.wait", "Thread.join", "Thread._wait_for_tstate_lock", "_shutdown", "_register_atexit"]),
    ("/queue.py", &["Queue.get", "Queue.join"]),
    ("/selectors.py", &[]),
    ("/socket.py", &["socket.accept"]),
    ("/socketserver.py", &["BaseServer.serve_forever"]),
    ("/concurrent/futures/thread.py", &["_worker", "ThreadPoolExecutor.shutdown"]),
    ("/concurrent/futures/_base.py", &["Future.result", "Future.exception", "as_completed", "wait"]),
    (
        "/concurrent/futures/process.py",
        &["_process_worker", "_ExecutorManagerThread.wait_result_broken_or_wakeup", "ProcessPoolExecutor.shutdown"],
    ),
    (
        "/multiprocessing/pool.py",
        &["worker", "ApplyResult.wait", "ApplyResult.get", "IMapIterator.next", "Pool._wait_for_updates", "Pool.join"],
    ),
    ("/multiprocessing/process.py", &["BaseProcess.join"]),
    ("/multiprocessing/popen_fork.py", &["Popen.wait", "Popen.poll"]),
    ("/multiprocessing/popen_forkserver.py", &["Popen.wait", "Popen.poll"]),
    ("/multiprocessing/popen_spawn_posix.py", &["Popen.wait", "Popen.poll"]),
    ("/multiprocessing/queues.py", &["Queue.get", "SimpleQueue.get", "Queue._feed", "JoinableQueue.join"]),
    ("/multiprocessing/connection.py", &["SocketListener.accept", "Listener.accept", "wait"]),
    ("/multiprocessing/forkserver.py", &["main"]),
    ("/multiprocessing/resource_tracker.py", &["main"]),
    ("/multiprocessing/managers.py", &["Server.serve_forever", "Server.accepter"]),
    ("/multiprocessing/synchronize.py", &["Event.wait"]),
    ("/asyncio/base_events.py", &["BaseEventLoop.run_forever", "Server.serve_forever"]),
    ("/asyncio/unix_events.py", &[]),
    ("/asyncio/runners.py", &[]),
    ("/asyncio/queues.py", &["Queue.get", "Queue.join"]),
    ("/asyncio/locks.py", &["Event.wait"]),
    ("/asyncio/tasks.py", &["wait", "_wait", "wait_for", "gather"]),
    ("/uvloop/__init__.py", &[]),
    ("/uvicorn/server.py", &["Server.main_loop", "Server.run", "Server.serve"]),
    ("/gunicorn/workers/sync.py", &["SyncWorker.wait", "SyncWorker.run_for_one", "SyncWorker.run_for_multiple"]),
    ("/gunicorn/workers/gthread.py", &["ThreadWorker.run"]),
    ("/gunicorn/workers/ggevent.py", &["GeventWorker.run"]),
    ("/gunicorn/arbiter.py", &["Arbiter.sleep", "Arbiter.run", "Arbiter.wait_for_signals"]),
    ("/waitress/wasyncore.py", &["poll", "poll2", "loop"]),
    ("/waitress/task.py", &["ThreadedTaskDispatcher.handler_thread"]),
    ("/cheroot/server.py", &["HTTPServer.serve", "HTTPServer.tick"]),
    ("/twisted/internet/epollreactor.py", &["EPollReactor.doPoll", "_ContinuousPolling"]),
    ("/tornado/platform/asyncio.py", &[]),
    ("/watchfiles/main.py", &["watch"]),
    (
        "/execnet/gateway_base.py",
        &["WorkerPool.waitall", "Popen2IO.read", "Message.from_io", "WorkerPool.integrate_as_primary_thread"],
    ),
];

/// Functions in those files that wait for another reason than work: they end the search.
const BUSY: [(&str, &str); 6] = [
    ("/threading.py", "Semaphore.acquire"),
    ("/threading.py", "Barrier.wait"),
    ("/threading.py", "Condition.wait_for"),
    ("/queue.py", "Queue.put"),
    ("/asyncio/locks.py", "Lock.acquire"),
    ("/asyncio/tasks.py", "sleep"),
];

/// True if a thread off the CPU in these frames idles. Frames come innermost first, each as the path of its file and
/// its qualified name.
pub(crate) fn idles<'a>(frames: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    for (path, qualname) in frames {
        let Some((_, functions)) = IDLE.iter().find(|(end, _)| path.ends_with(end)) else { return false };
        if functions.contains(&qualname) {
            return true;
        }
        if BUSY.iter().any(|(end, function)| *function == qualname && path.ends_with(end)) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::idles;

    #[test]
    fn waits_for_work_or_a_threads_end_are_idle_and_waits_for_an_answer_are_not() {
        let lib = |file: &str| format!("/usr/lib/python3.13/{file}");
        let idle = |frames: &[(&str, &str)]| {
            let frames: Vec<(String, &str)> = frames.iter().map(|(file, name)| (lib(file), *name)).collect();
            idles(frames.iter().map(|(path, name)| (path.as_str(), *name)))
        };
        assert!(idle(&[("threading.py", "Condition.wait"), ("queue.py", "Queue.get"), ("app.py", "main")]));
        assert!(idle(&[("threading.py", "Thread.join"), ("app.py", "main")]));
        assert!(idle(&[("concurrent/futures/thread.py", "_worker"), ("threading.py", "Thread.run")]));
        assert!(idle(&[("selectors.py", "EpollSelector.select"), ("socketserver.py", "BaseServer.serve_forever")]));
        assert!(!idle(&[("selectors.py", "EpollSelector.select"), ("psycopg/waiting.py", "wait_selector")]));
        assert!(!idle(&[("threading.py", "Condition.wait"), ("threading.py", "Semaphore.acquire")]));
        assert!(!idle(&[("app.py", "handle"), ("socketserver.py", "BaseServer.serve_forever")]));
        assert!(!idle(&[]));
    }
}
