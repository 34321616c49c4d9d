//! `sitepeer freeze` without a hub.

use crate::run;
use crate::schema::assert_output;

#[test]
fn a_freeze_of_this_host_is_a_file_in_the_state_folder_and_ends_when_it_is_taken_off() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let file = folder.path().join("k3f9q2.frozen");
    let freeze = |more: &[&str]| run(&[&["freeze", "k3f9q2", "--state-dir", place, "--json"], more].concat());
    let begun = freeze(&["--for", "2h", "--reason", "new uplink"]);
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    let result = assert_output("freeze", &begun.stdout);
    assert_eq!((result["frozen"].as_bool(), result["until"].is_i64()), (Some(true), true));
    assert!(std::fs::read_to_string(&file).unwrap().contains("new uplink"));
    for _ in 0..2 {
        let ended = freeze(&["--off"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(assert_output("freeze", &ended.stdout)["frozen"], false);
        assert!(!file.exists());
    }
}

#[test]
fn a_freeze_without_a_place_or_an_end_or_of_no_site_is_a_mistake_and_says_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    for (args, said) in [
        (&["freeze", "k3f9q2", "--for", "2h"][..], "--state-dir"),
        (&["freeze", "k3f9q2", "--state-dir", place], "--for"),
        (&["freeze", "k3f9q2", "--state-dir", place, "--for", "8d"], "7d"),
        (&["freeze", "No Site", "--state-dir", place, "--for", "2h"], "id"),
    ] {
        let failed = run(args);
        assert_eq!(failed.code, Some(2), "{args:?}: {}", failed.stderr);
        assert!(failed.stderr.contains(said), "{args:?}: {}", failed.stderr);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
