//! The frame walk against `sys._getframe`.

use rscalene_interp::linetable::line_at;
use rscalene_interp::{Identity, Memory, WalkEnd, walk};

use crate::target::{Target, interpreters};

/// One construct a program; each stops once in its innermost frame.
const PROGRAMS: &[(&str, &str)] = &[
    ("a plain function", "def f(a):\n    b = a\n    stop()\n    return b\nf(1)\n"),
    ("a call over several lines", "def f(*a, k):\n    stop()\nf(\n    1,\n    2,\n    k=(\n        3))\n"),
    ("a generator", "def g():\n    yield 1\n    stop()\n    yield 2\nfor x in g():\n    y = x\n"),
    ("a generator behind yield from", "def g():\n    stop()\n    yield 1\ndef h():\n    yield from g()\nlist(h())\n"),
    (
        "a coroutine",
        "async def c():\n    stop()\nasync def d():\n    await c()\ntry:\n    d().send(None)\nexcept StopIteration:\n    pass\n",
    ),
    (
        "an asyncio task",
        "import asyncio\nasync def c():\n    await asyncio.sleep(0)\n    stop()\nasync def d():\n    await asyncio.gather(c())\nasyncio.run(d())\n",
    ),
    (
        "an async generator",
        "import asyncio\nasync def g():\n    yield 1\n    stop()\nasync def d():\n    async for x in g():\n        pass\nasyncio.run(d())\n",
    ),
    ("a list comprehension", "def f():\n    return [stop() for x in [1]\n            if x]\nf()\n"),
    ("a generator expression", "sum((stop() or 1)\n    for x in [1])\n"),
    ("a lambda", "k = (lambda x:\n     stop())\nk(1)\n"),
    ("a class body", "class A:\n    x = 1\n    class B:\n        y = stop()\n"),
    ("exec'd code", "exec(compile('x = 1\\n\\nstop()\\n', '<made up>', 'exec'), {'stop': stop})\n"),
    (
        "a file name that is not ASCII",
        "exec(compile('def n\u{e9}():\\n  stop()\\nn\u{e9}()', 'h\u{e9}.py', 'exec'), {'stop': stop})\nexec(compile('stop()', '\u{65e5}\u{672c}.py', 'exec'))\n",
    ),
    ("a file name beyond the BMP", "exec(compile('stop()', 'a\u{1f40d}b.py', 'exec'))\n"),
    ("a destructor", "class A:\n    def __del__(self):\n        stop()\ndef f():\n    a = A()\n    del a\nf()\n"),
    (
        "decorators",
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def w(*a):\n        return f(*a)\n    return w\n@d\n@d\ndef f(x):\n    stop()\nf(1)\n",
    ),
    (
        "a C callback of sorted",
        "def key(x):\n    if x == 2:\n        stop()\n    return x\nsorted([1, 2, 3], key=key)\n",
    ),
    ("a C callback of map", "list(map(lambda x: stop(), [1]))\n"),
    (
        "a method, a property and a subscript",
        "class A:\n    @property\n    def p(self):\n        return self[1]\n    def __getitem__(self, i):\n        return self.m()\n    def m(self):\n        stop()\ndef f():\n    A().p\nf()\n",
    ),
    ("a constructor", "class A:\n    def __init__(self, x):\n        stop()\nA(1)\n"),
    (
        "specialised calls",
        "def leaf(x, y=2):\n    if x == 99:\n        stop()\n    return x\nclass A:\n    def __init__(self, x):\n        self.x = leaf(x)\n    def m(self, x):\n        return A(x)\ndef f():\n    a = A(0)\n    for i in range(100):\n        a.m(i)\nf()\n",
    ),
    (
        "a with statement",
        "class A:\n    def __enter__(self):\n        pass\n    def __exit__(self, *a):\n        stop()\ndef f():\n    with A():\n        x = 1\nf()\n",
    ),
    ("an except block", "def f():\n    try:\n        1 / 0\n    except ZeroDivisionError:\n        stop()\nf()\n"),
    ("recursion 900 deep", "def f(n):\n    if n:\n        return f(n - 1)\n    stop()\nf(900)\n"),
    (
        "recursion through C",
        "def f(n):\n    return max([n], key=lambda x: f(n - 1) if n else stop())\ntry:\n    f(40)\nexcept TypeError:\n    pass\n",
    ),
    ("a thread", "t = threading.Thread(target=lambda: stop())\nt.start()\nt.join()\n"),
    (
        "a monitored function",
        "def f():\n    x = 1\n    stop()\nif hasattr(sys, 'monitoring'):\n    sys.monitoring.use_tool_id(3, 't')\n    sys.monitoring.register_callback(3, sys.monitoring.events.LINE, lambda *a: None)\n    sys.monitoring.set_events(3, sys.monitoring.events.LINE)\nelse:\n    sys.settrace(lambda *a: None)\nf()\n",
    ),
];

/// Runs the programs one after the other in one process.
const RUN_ALL: &str = "
for program in PROGRAMS:
    exec(compile(program, '<program>', 'exec'), {'stop': stop, 'sys': sys, 'threading': threading})
";

#[test]
fn every_frame_is_the_one_the_interpreter_names() {
    let sources: Vec<_> = PROGRAMS.iter().map(|(_, program)| program).collect();
    // A JSON list of strings is a Python list of strings too.
    let script = format!("PROGRAMS = {}{RUN_ALL}", serde_json::json!(sources));
    for python in interpreters() {
        let mut target = Target::start(python, &script);
        for (i, (what, program)) in PROGRAMS.iter().enumerate() {
            for stop in 0..program.matches("exec(").count().max(1) {
                if i + stop > 0 {
                    target.resume();
                }
                assert_same_frames(&target, &format!("{what}, {python:?}"));
            }
        }
    }
}

fn assert_same_frames(target: &Target, what: &str) {
    let mut frames = Vec::new();
    let walk = walk(&target.mem, &target.layout, target.tstate(), 4096, |frame| {
        frames.push(frame);
        true
    });
    assert_eq!((walk.end, walk.rejected), (WalkEnd::Complete, 0), "{what}");
    let truth = target.truth["frames"].as_array().expect("frames");
    // The leaf is `stop` itself, in the read that blocks.
    let (leaf, callers) = frames.split_first().expect("at least one frame");
    assert_eq!(Some(leaf.code), target.truth["code"].as_u64(), "{what}: leaf");
    assert_eq!(callers.len(), truth.len(), "{what}: depth");
    for (depth, (frame, said)) in callers.iter().zip(truth).enumerate() {
        let identity = Identity::read(&target.mem, &target.layout, frame.code).expect("a code object");
        let (table, len) = identity.linetable(&target.layout);
        let mut linetable = vec![0; len as usize];
        assert!(target.mem.bytes(table, &mut linetable), "{what}: line table");
        let line = line_at(&linetable, identity.first_line, frame.offset_bytes);
        let read = serde_json::json!([
            frame.code,
            target.text(identity.filename),
            target.text(identity.qualname),
            identity.first_line,
            line,
            frame.offset_bytes,
            identity.flags
        ]);
        assert_eq!(&read, said, "{what}: frame {depth}");
    }
}

#[test]
fn a_walk_stops_at_its_bound_and_when_the_visitor_returns_false() {
    for python in interpreters() {
        let target =
            Target::start(python, "def f(n):\n    if n:\n        f(n - 1)\n    else:\n        stop()\nf(50)\n");
        let tstate = target.tstate();
        let cut = walk(&target.mem, &target.layout, tstate, 10, |_| true);
        assert_eq!((cut.end, cut.frames), (WalkEnd::Cut, 10), "{python:?}");
        let exact = walk(&target.mem, &target.layout, tstate, 53, |_| true);
        assert_eq!((exact.end, exact.frames), (WalkEnd::Complete, 53), "{python:?}");
        let stopped = walk(&target.mem, &target.layout, tstate, 100, |frame| frame.code == 0);
        assert_eq!((stopped.end, stopped.frames), (WalkEnd::Stopped, 1), "{python:?}");
    }
}

/// Calls, generators, recursion and exceptions without end, in two threads; every function's name begins with `w_`.
const BUSY: &str = r"
def w_leaf(x):
    return x + 1
def w_gen(n):
    for i in range(n):
        yield w_leaf(i)
def w_deep(n):
    return w_deep(n - 1) if n else sum(w_gen(5))
def w_raise(n):
    if n:
        w_raise(n - 1)
    raise ValueError
class W:
    def w_method(self):
        return w_leaf(self.w_property)
    @property
    def w_property(self):
        return 1
class w_init:
    def __init__(self):
        w_leaf(1)
def w_main():
    while True:
        w_deep(30)
        try:
            w_raise(10)
        except ValueError:
            pass
        W().w_method()
        w_init()
        sorted([3, 1, 2], key=w_leaf)
t = threading.Thread(target=w_main, daemon=True)
t.start()
def w_go():
    stop(worker=t.native_id)
    w_main()
w_go()
";

#[test]
fn a_running_target_shows_only_code_that_it_runs() {
    for python in interpreters() {
        let mut target = Target::start(python, BUSY);
        let states = [target.tstate(), target.tstate_of(target.truth["worker"].as_u64().unwrap())];
        target.release();
        let (mem, layout) = (&target.mem, &target.layout);
        let (mut shown, mut deepest) = (0, 0);
        let mut names = std::collections::HashMap::new();
        for round in 0..3000 {
            let mut codes = Vec::new();
            let walked = walk(mem, layout, states[round % 2], 100, |frame| {
                codes.push(frame.code);
                true
            });
            assert!(walked.frames <= 100 && walked.rejected <= 264, "{python:?}: {walked:?}");
            deepest = deepest.max(walked.frames);
            shown += codes.len();
            for code in codes {
                names.entry(code).or_insert_with(|| {
                    let identity = Identity::read(mem, layout, code).expect("no code object of this target dies");
                    target.text(identity.qualname)
                });
            }
        }
        assert!(shown > 3000 && deepest > 10, "{python:?}: {shown} frames, {deepest} deep");
        let own = ["w_", "W.w_", "<module>", "stop"];
        let threading = ["Thread._bootstrap", "Thread.run"];
        for name in names.values() {
            let known = own.iter().chain(&threading).any(|start| name.starts_with(start));
            assert!(known, "{python:?}: {name}");
        }
    }
}
