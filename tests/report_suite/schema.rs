//! The schema and the page about the format describe what is written.

use boon::{Compiler, SchemaIndex, Schemas};
use rscalene::profile::merge::Merging;
use rscalene::profile::model::{Profile, codes};
use serde_json::Value;

use crate::profiles::{adversarial, asking, cpu_only, realistic};

const SCHEMA: &str = include_str!("../../docs/profile-v1.schema.json");
const PAGE: &str = include_str!("../../docs/profile-format.md");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Two runs as one.
fn merged() -> Profile {
    let mut merging = Merging::new();
    for rank in 0..2 {
        let mut profile = asking();
        (profile.target.host, profile.target.rank) = (Some("node".to_owned()), Some(rank));
        merging.add(profile).unwrap();
    }
    merging.finish(None)
}

fn compiled() -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("urn:rscalene:profile:1", schema()).unwrap();
    let index = compiler.compile("urn:rscalene:profile:1", &mut schemas).unwrap();
    (schemas, index)
}

#[test]
fn every_profile_is_valid_against_the_schema() {
    let (schemas, index) = compiled();
    for profile in [realistic(), asking(), cpu_only(), Profile::default(), adversarial(), merged()] {
        let value = serde_json::to_value(&profile).unwrap();
        if let Err(error) = schemas.validate(&value, index) {
            panic!("{error:#}");
        }
    }
}

#[test]
fn the_schema_refuses_profiles_that_break_the_format() {
    let (schemas, index) = compiled();
    let whole = serde_json::to_value(realistic()).unwrap();
    let breaks: [fn(&mut Value); 7] = [
        |v| v["format"]["major"] = 2.into(),
        |v| v["files"][0]["lines"][0]["python_s"] = "0.1".into(),
        |v| v["files"][0]["lines"][0]["alloc_bytes"] = 1.5.into(),
        |v| v["clock"]["elapsed_s"] = Value::Null,
        |v| v["timeline"]["rss"][0] = 5.into(),
        |v| v["stacks"]["nodes"][0]["parent"] = (-1).into(),
        |v| drop(v["totals"].as_object_mut().unwrap().remove("lost_records")),
    ];
    for (number, harm) in breaks.iter().enumerate() {
        let mut value = whole.clone();
        harm(&mut value);
        assert!(schemas.validate(&value, index).is_err(), "break {number} passed");
    }
}

#[test]
fn every_key_is_in_the_schema_and_on_the_page() {
    let schema = schema();
    let value = serde_json::to_value(asking()).unwrap();
    walk(&schema, &schema, &value, "");
    walk(&schema, &schema, &serde_json::to_value(merged()).unwrap(), "");
}

/// Holds `value` against its `schema`: each key is described and each described key is there.
fn walk(root: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return walk(root, root.pointer(reference.trim_start_matches('#')).unwrap(), value, place);
    }
    match value {
        // Keys of the program's own.
        Value::Object(_) if schema.get("additionalProperties").is_some_and(Value::is_object) => {}
        Value::Object(entries) => {
            let described = schema["properties"].as_object().unwrap_or_else(|| panic!("{place} has no properties"));
            // Shares are written only where there are several processes or threads, what is of no kind where there is any.
            // Queries are written of lines that asked, and marks where there is one.
            let may_be_absent =
                ["attached", "cpu_s_se", "user_s", "idle_s", "helpers_s", "gc_s", "core_wait_s", "program_s"];
            let since_merging = ["host", "rank", "text_sha256", "merge", "cpu_variance", "functions"];
            let of_some = |key: &str| {
                key.starts_with("by_") || key.starts_with("sql_") || ["mark", "advice", "cause"].contains(&key)
            };
            // A line that no group spent on has no range of it.
            let ranges = place.ends_with(".spread.lines[]");
            // A stack that only waited has no seconds of any kind.
            let waited = |key: &str| place.ends_with(".nodes[]") && ["python_s", "native_s", "system_s"].contains(&key);
            let absent = |key: &str| {
                ranges
                    || (place == ".timeline" && key == "lines")
                    || waited(key)
                    || of_some(key)
                    || [&may_be_absent[..], &since_merging].concat().contains(&key)
            };
            for key in described.keys().filter(|key| !absent(key)) {
                assert!(entries.contains_key(key), "{place}.{key} is described but not written");
            }
            for (key, inner) in entries {
                let place = format!("{place}.{key}");
                assert!(PAGE.contains(key.as_str()), "{place} is not on the page");
                walk(root, described.get(key).unwrap_or_else(|| panic!("{place} is not in the schema")), inner, &place);
            }
        }
        Value::Array(items) if schema.get("items").is_some() => {
            items.iter().for_each(|item| walk(root, &schema["items"], item, &format!("{place}[]")));
        }
        _ => {}
    }
}

#[test]
fn the_page_names_every_code_of_a_notice() {
    let of_the_shim =
        (0..64).filter_map(|code| rscalene_wire::NoticeCode::of(code).name()).map(str::to_ascii_lowercase);
    let ours = codes::ALL.iter().map(|code| (*code).to_owned());
    for code in of_the_shim.chain(ours) {
        assert!(PAGE.contains(&format!("| `{code}` |")), "{code}");
    }
}
