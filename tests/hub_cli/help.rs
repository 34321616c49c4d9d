//! The reference of `hub`: a change of it shows in this snapshot.

use crate::{Run, hub};

/// Every command that has a help of its own.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["check"],
    &["backup"],
    &["restore"],
    &["admin-token"],
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
    &["site", "health"],
    &["site", "freeze"],
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
    let mut pages: Vec<(&str, String)> = Vec::new();
    for command in COMMANDS {
        let run = Run::of(hub(&[*command, &["--help"]].concat())).ok();
        // clap pads lines it leaves empty.
        let text = run.stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let wide = |line: &str| line.chars().count() > 100 && !line.starts_with("Usage: ");
        assert!(!text.lines().any(wide), "{text}");
        let noun = command.first().copied().unwrap_or("hub");
        let page = format!("$ sitepeer {}\n{text}\n\n", [&["hub"][..], *command, &["--help"]].concat().join(" "));
        match pages.last_mut() {
            Some((last, pages)) if *last == noun => pages.push_str(&page),
            _ => pages.push((noun, page)),
        }
    }
    for (noun, pages) in pages {
        insta::assert_snapshot!(noun, pages);
    }
}
