//! Identities of code objects whose addresses are used again.

use std::collections::HashMap;

use rscalene_interp::{Identity, walk};

use crate::target::{Target, interpreters};

/// Compiles, runs and drops code objects until one address has held several.
const REUSE: &str = r#"
for i in range(300):
    source = "def f():\n" + "    x = 1\n" * (i % 3) + "    stop(n=i)\nf()\n"
    exec(compile(source, f"<gen{i}>", "exec"), {"stop": stop, "i": i})
"#;

#[test]
fn successive_code_objects_at_one_address_stay_separate() {
    for python in interpreters() {
        let mut target = Target::start(python, REUSE);
        let mut by_address: HashMap<u64, Vec<(u64, String)>> = HashMap::new();
        for _ in 0..299 {
            let mut codes = Vec::new();
            walk(&target.mem, &target.layout, target.tstate(), 10, |frame| {
                codes.push(frame.code);
                true
            });
            for code in &codes[1..3] {
                let identity = Identity::read(&target.mem, &target.layout, *code).expect("a code object");
                assert_eq!(Identity::read(&target.mem, &target.layout, *code).unwrap().hash64(), identity.hash64());
                let name = target.text(identity.filename) + &target.text(identity.qualname);
                by_address.entry(*code).or_default().push((identity.hash64(), name));
            }
            target.resume();
        }
        let reused = by_address.values().filter(|seen| seen.len() > 1).count();
        assert!(reused > 0, "{python:?}: no address was used again, the test shows nothing");
        for seen in by_address.values() {
            let names: std::collections::HashSet<_> = seen.iter().map(|(_, name)| name).collect();
            let hashes: std::collections::HashSet<_> = seen.iter().map(|(hash, _)| hash).collect();
            assert_eq!(names.len(), hashes.len(), "{python:?}: {seen:?}");
        }
    }
}
