//! The reference of `hub`: a change of it shows in this snapshot.

use crate::{Run, hub};

/// Every command that has a help of its own.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["check"],
    &["backup"],
    &["restore"],
    &["instance"],
    &["instance", "create"],
    &["instance", "list"],
    &["instance", "edit"],
    &["instance", "delete"],
    &["peer"],
    &["peer", "add", "site"],
    &["peer", "add", "client"],
    &["peer", "add", "remote"],
    &["peer", "list"],
    &["peer", "show"],
    &["peer", "edit"],
    &["peer", "profile"],
    &["site"],
    &["enrollment"],
    &["enrollment", "create"],
    &["token"],
    &["token", "create"],
    &["account"],
    &["gateway"],
    &["audit"],
    &["whoami"],
];

#[test]
fn the_reference_is_as_reviewed() {
    for command in COMMANDS {
        let run = Run::of(hub(&[*command, &["--help"]].concat())).ok();
        // clap pads lines it leaves empty.
        let text = run.stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        insta::assert_snapshot!([&["hub"][..], *command].concat().join("_"), text);
    }
}
