//! The schemas of `--json`, and whether a line keeps to them.

use std::fs;
use std::path::Path;

use jsonschema::{Registry, Validator};
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/schema");
const BASE: &str = "https://sitepeer.invalid/schema/";

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Checks a line against the schema called `name`, or against a part of it (`result#/$defs/failure`).
pub fn problems(name: &str, line: &Value) -> Vec<String> {
    let mut registry = Registry::new();
    for entry in fs::read_dir(FOLDER).expect("the schemas are there").map(|entry| entry.expect("readable").path()) {
        let schema = read(&entry);
        let id = schema["$id"].as_str().expect("a schema has an $id").to_owned();
        let file = entry.file_name().expect("a file").to_string_lossy().into_owned();
        assert_eq!(id, format!("{BASE}{file}"), "a schema is called what its file is called");
        registry = registry.add(id, schema).expect("a schema that can be added");
    }
    let registry = registry.prepare().expect("every reference between the schemas is there");
    let (file, part) = name.split_once('#').unwrap_or((name, ""));
    let schema = serde_json::json!({ "$ref": format!("{BASE}{file}.schema.json#{part}") });
    let validator: Validator =
        jsonschema::options().with_registry(&registry).build(&schema).expect("a schema that can be built");
    validator.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Checks the whole output of a command: every line an object, the last and only the last a result.
pub fn assert_output(command: &str, stdout: &str) -> Value {
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for line in &lines {
        assert_eq!(problems(command, line), Vec::<String>::new(), "{line}");
    }
    let results = lines.iter().filter(|line| line.get("result").is_some()).count();
    let last = lines.last().cloned().unwrap_or_default();
    assert!(results == 1 && last.get("result").is_some(), "one result, at the end:\n{stdout}");
    last
}
