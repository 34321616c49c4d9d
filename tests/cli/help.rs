//! The command line's reference: a change of it shows in these snapshots.

use crate::{Run, run};

fn help(args: &[&str]) -> String {
    let Run { code, stdout, stderr } = run(args);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    // clap pads lines it leaves empty.
    stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_is_as_reviewed() {
    insta::assert_snapshot!("sitepeer", help(&["--help"]));
    // The small build knows no safe mode.
    let small = if cfg!(feature = "proxy") { "" } else { "-small" };
    for command in ["provision", "remove"] {
        insta::assert_snapshot!(format!("{command}{small}"), help(&[command, "--help"]));
    }
    for command in
        ["plan", "status", "doctor", "rotate-key", "render", "client-key", "sim", "demo", "completions", "man"]
    {
        insta::assert_snapshot!(command, help(&[command, "--help"]));
    }
}

#[cfg(feature = "proxy")]
#[test]
fn the_reference_of_fleet_is_as_reviewed() {
    insta::assert_snapshot!("fleet", help(&["fleet", "--help"]));
    insta::assert_snapshot!("fleet-provision", help(&["fleet", "provision", "--help"]));
}

#[test]
fn help_names_every_exit_code_and_variable() {
    let text = help(&["--help"]);
    for word in [
        "\n  0  ",
        "\n  1  ",
        "\n  2  ",
        "\n  3  ",
        "\n  4  ",
        "\n  5  ",
        "\n  6  ",
        "SITEPEER_ROUTER_PASSWORD",
        "SITEPEER_LOG",
    ] {
        assert!(text.contains(word), "{word:?} is missing");
    }
}

#[cfg(feature = "manual")]
#[test]
fn completions_and_manual_know_every_command() {
    for args in [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"], &["man"]] {
        let text = help(args);
        for command in ["provision", "plan", "status", "remove", "render", "client-key", "sim", "demo"] {
            assert!(text.contains(command), "{args:?} lacks {command}");
        }
    }
}
