//! Waiting lands on the line that waits.

use crate::watched::{close, on_each, watch};

#[test]
fn a_sleeping_line_owns_its_sleep_and_a_busy_line_waits_for_nothing() {
    let script = "
start = time.perf_counter()
for _ in range(3):
    begin = time.perf_counter()
    time.sleep(0.211)  # sleep
    spin(0.107)  # busy
run, delay = clock()
done(slept=3 * 0.211, wall=time.perf_counter() - start, busy=run + delay)
";
    on_each(|python| {
        let seen = watch(python, script);
        close("sleep", seen.line("sleep").wait_s, seen.truth("slept"), 0.03, 0.03);
        assert!(seen.line("busy").wait_s < 0.02, "{python:?}: {:?}", seen.line("busy"));
        assert!(seen.total(None).gil_s < 0.01, "{python:?}: one thread waits for no GIL");
    });
}

#[test]
fn every_kind_of_blocking_call_waits_on_its_own_line() {
    let script = "
import queue, select, selectors, socket, subprocess
truth = {}
left, right = socket.socketpair()
poll, epoll = select.poll(), select.epoll()
poll.register(left, select.POLLIN), epoll.register(left, select.EPOLLIN)
lock = threading.Lock(); lock.acquire()
condition = threading.Condition()
left.settimeout(0.373)
read, write = os.pipe()
threading.Timer(3.4, os.write, (write, b'x')).start()
begin = time.perf_counter()
def lap(name):
    global begin
    now = time.perf_counter(); truth[name] = now - begin; begin = now
select.select([left], [], [], 0.351)  # select
lap('select')
poll.poll(357)  # poll
lap('poll')
epoll.poll(0.363)  # epoll
lap('epoll')
try: queue.Queue().get(timeout=0.367)  # queue
except queue.Empty: lap('queue')
lock.acquire(timeout=0.379)  # lock
lap('lock')
with condition: condition.wait(0.381)  # condition
lap('condition')
try: left.recv(1)  # recv
except TimeoutError: lap('recv')
subprocess.run(['sleep', '0.391'])  # subprocess
lap('subprocess')
os.read(read, 1)  # pipe
lap('pipe')
done(**truth)
";
    on_each(|python| {
        let seen = watch(python, script);
        for word in ["select", "poll", "epoll", "queue", "lock", "condition", "recv", "pipe"] {
            close(&format!("{python:?} {word}"), seen.line(word).wait_s, seen.truth(word), 0.04, 0.03);
        }
        // Starting the child is work, and both share the cores with it.
        close("subprocess", seen.line("subprocess").wait_s, seen.truth("subprocess"), 0.2, 0.02);
    });
}

#[test]
fn waits_shorter_than_a_tick_come_out_in_their_ratio() {
    let script = "
begin, (run, delay) = time.perf_counter(), clock()
while time.perf_counter() < begin + 2.5:
    time.sleep(0.0011)  # short
    time.sleep(0.0037)  # long
then = clock()
done(waited=time.perf_counter() - begin - (then[0] - run) - (then[1] - delay))
";
    on_each(|python| {
        let seen = watch(python, script);
        let (short, long) = (seen.line("short").wait_s, seen.line("long").wait_s);
        close(&format!("{python:?}"), short + long, seen.truth("waited"), 0.05, 0.03);
        // About 200 looks with a share of a quarter: one sigma is 0.03. A sleep takes 0.05 ms more than it is asked to.
        close(&format!("{python:?} share"), short / (short + long), 1.15 / (1.15 + 3.75), 0.0, 0.1);
    });
}

#[test]
fn a_coroutine_and_a_generator_wait_on_their_own_lines() {
    let script = "
def numbers():
    for _ in range(2):
        time.sleep(0.303)  # generator
        yield
class Sleepy:
    def __enter__(self):
        time.sleep(0.309)  # enter
    def __exit__(self, *_):
        pass
list(numbers())
with Sleepy():
    (lambda: time.sleep(0.313))()  # lambda
exec('time.sleep(0.107)')  # exec
done()
";
    on_each(|python| {
        let seen = watch(python, script);
        close("generator", seen.line("generator").wait_s, 0.606, 0.03, 0.03);
        close("enter", seen.line("enter").wait_s, 0.309, 0.03, 0.03);
        close("lambda", seen.line("lambda").wait_s, 0.313, 0.03, 0.03);
    });
}

#[test]
fn an_idle_event_loop_waits_on_the_lines_that_await() {
    let script = "
import asyncio
async def leaf(seconds):
    await asyncio.sleep(seconds)  # leaf
async def direct():
    await asyncio.sleep(0.6)  # direct
async def main():
    await asyncio.sleep(0.4)  # first
    await asyncio.gather(leaf(0.6), direct())  # gather
begin = time.perf_counter()
asyncio.run(main())  # run
done(wall=time.perf_counter() - begin)
";
    on_each(|python| {
        let seen = watch(python, script);
        close(&format!("{python:?} first"), seen.line("first").wait_s, 0.4, 0.03, 0.04);
        close(&format!("{python:?} leaf"), seen.line("leaf").wait_s, 0.3, 0.03, 0.04);
        close(&format!("{python:?} direct"), seen.line("direct").wait_s, 0.3, 0.03, 0.04);
        assert!(seen.line("gather").wait_s < 0.02, "{python:?}: it waits for the tasks alone");
        assert!(seen.line("run").wait_s < 0.05, "{python:?}: {:?}", seen.line("run"));
    });
}
