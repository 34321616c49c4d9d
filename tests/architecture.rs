//! The house rules that no compiler checks: who may use whom, who prints, who writes to a router.
//!
//! The layers are read from the table in the documentation of `src/lib.rs`, so the map and the rule are one.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file in lines.
const MAX_LINES: usize = 500;

/// A source file without its comments and without its unit tests.
struct Source {
    /// Relative to the root of the repository, with `/`.
    name: String,
    /// Code, line by line; lines of comments are empty.
    lines: Vec<String>,
}

impl Source {
    /// `reconcile` for `src/reconcile/apply/mod.rs`, `lib` for `src/lib.rs`.
    fn layer(&self) -> &str {
        let inside = self.name.trim_start_matches("src/");
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// Where something stands, for a message.
    fn place(&self, index: usize) -> String {
        format!("{}:{}: {}", self.name, index + 1, self.lines[index].trim())
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().map(String::as_str).enumerate()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.expect("readable").path()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "corpus" {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("inside").to_string_lossy().replace('\\', "/")
}

/// All files under `src`, tests files left out.
fn sources() -> Vec<Source> {
    let files = rust_files(&root().join("src"));
    assert!(files.len() > 20, "only {} files found: is this the repository?", files.len());
    files
        .iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests"))
        .map(|path| {
            let text = fs::read_to_string(path).expect("UTF-8");
            let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
            Source { name: name(path), lines: lines.map(str::to_owned).collect() }
        })
        .collect()
}

/// The table of layers in `src/lib.rs`: each layer and what it may use.
fn layers() -> BTreeMap<String, Vec<String>> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let quoted = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut table = BTreeMap::new();
    for row in lib.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').collect();
        if let ([layer, ..], [_, .., uses]) = (quoted(cells[0]).as_slice(), cells.as_slice()) {
            let uses = if uses.trim() == "all" { vec!["all".to_owned()] } else { quoted(uses) };
            table.insert(layer.clone(), uses);
        }
    }
    assert!(table.len() >= 6, "the table in src/lib.rs was not understood: {table:?}");
    table
}

/// The modules that a line names right after `crate::`, alone or in braces.
fn crate_paths(line: &str) -> Vec<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(group) => found.extend(group.split(',').map(|part| word(part.trim()))),
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

#[test]
fn layers_look_down_only() {
    let layers = layers();
    let mut wrong = Vec::new();
    for source in sources() {
        if ["lib", "main"].contains(&source.layer()) {
            continue;
        }
        let Some(allowed) = layers.get(source.layer()) else {
            wrong.push(format!("{}: `{}` is not in the table of src/lib.rs", source.name, source.layer()));
            continue;
        };
        for (index, line) in source.numbered() {
            let used = crate_paths(line).into_iter().filter(|module| layers.contains_key(module));
            for module in used.filter(|module| module != source.layer()) {
                if !allowed.iter().any(|name| name == "all" || *name == module) {
                    wrong.push(source.place(index));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "used although the table in src/lib.rs does not allow it:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_has_no_circle() {
    let layers = layers();
    for layer in layers.keys() {
        let mut seen = vec![layer.clone()];
        let mut next = 0;
        while next < seen.len() {
            for below in layers.get(&seen[next]).into_iter().flatten() {
                assert_ne!(below, layer, "{layer} uses itself by way of {}", seen[next]);
                if !seen.contains(below) {
                    seen.push(below.clone());
                }
            }
            next += 1;
        }
    }
}

/// Lines of the code outside `allowed` in which one of the words stands.
fn lines_with(words: &[&str], allowed: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !allowed(source)) {
        for (index, line) in source.numbered() {
            if words.iter().any(|word| line.contains(word)) {
                wrong.push(source.place(index));
            }
        }
    }
    wrong
}

#[test]
fn only_the_command_line_prints() {
    let words = ["print!(", "println!(", "dbg!(", "stdout()", "stderr()", "io::stdout", "io::stderr"];
    let wrong = lines_with(&words, |source| source.layer() == "cli");
    assert!(wrong.is_empty(), "printed outside src/cli:\n{}", wrong.join("\n"));
}

#[test]
fn only_apply_and_the_login_write_to_a_router() {
    // A command is built from a path that ends in its verb. The simulator answers such commands, the templates
    // of scripts have no connection, and the demo plays the person at the console of its own simulated router.
    let words =
        ["/add\"", "/set\"", "/unset\"", "/remove\"", "/move\"", "/enable\"", "/disable\"", "/run\"", "/import\""];
    let may_write = |source: &Source| {
        source.name.starts_with("src/reconcile/apply")
            || source.name.starts_with("src/routeros/login")
            || source.name.starts_with("src/cli/demo/")
            || ["sim", "render"].contains(&source.layer())
    };
    let mut wrong = lines_with(&words, may_write);
    // The demo's operator breaks something on a simulated router by hand, past any API.
    wrong.retain(|place| !place.contains(".operator(\"/"));
    // Paths of the hub's HTTP API are no paths of a router.
    wrong.retain(|place| !place.contains("\"/v1/"));
    assert!(wrong.is_empty(), "a write outside reconcile::apply and routeros::login:\n{}", wrong.join("\n"));
    // Nor may a verb come out of a variable: whoever else builds a command names a verb that reads.
    let reads = ["/print\"", "/ping\"", "/listen\""];
    let mut hidden = lines_with(&["Command::new("], may_write);
    hidden.retain(|place| !reads.iter().any(|verb| place.contains(verb)));
    // A program of this machine is no command of a router.
    hidden.retain(|place| !place.contains("tokio::process::Command::new("));
    assert!(hidden.is_empty(), "a command whose verb is not seen to be one that reads:\n{}", hidden.join("\n"));
    let apply = lines_with(&words, |source| !source.name.starts_with("src/reconcile/apply"));
    assert!(!apply.is_empty(), "reconcile::apply writes nothing: this test looks for the wrong thing");
}

#[test]
fn a_lint_is_expected_with_a_reason_and_never_allowed() {
    let wrong = lines_with(&["[allow("], |_| false);
    assert!(wrong.is_empty(), "use #[expect(…, reason = \"…\")]:\n{}", wrong.join("\n"));
    let silent = lines_with(&["[expect("], |_| false);
    let silent: Vec<&String> =
        silent.iter().filter(|place| place.ends_with(")]") && !place.contains("reason")).collect();
    assert!(silent.is_empty(), "no reason given: {silent:?}");
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let lines = fs::read_to_string(&path).expect("UTF-8").lines().count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines", name(&path)));
            }
        }
    }
    assert!(long.is_empty(), "longer than {MAX_LINES} lines:\n{}", long.join("\n"));
}
