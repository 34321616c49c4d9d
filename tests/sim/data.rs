//! The simulator's data against the recordings it was made from.

use std::fs;
use std::path::Path;

use crate::extract;

fn data_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim/data").join(name)
}

#[test]
fn the_menu_data_is_what_the_recorded_schemas_say() {
    let Some(dir) = extract::sources() else {
        eprintln!("skipped: no recorded RouterOS schemas beside this checkout");
        return;
    };
    let derived = serde_json::to_string_pretty(&extract::extract(&dir)).unwrap() + "\n";
    if std::env::var_os("SITEPEER_UPDATE_SIM_DATA").is_some() {
        fs::write(data_file("menus.json"), &derived).unwrap();
    }
    let kept = fs::read_to_string(data_file("menus.json")).unwrap();
    assert!(
        kept == derived,
        "src/sim/data/menus.json differs from its sources; SITEPEER_UPDATE_SIM_DATA=1 makes it anew"
    );
}

#[test]
fn every_error_text_taken_from_a_recording_is_spelled_as_recorded() {
    let Some(dir) = extract::sources() else {
        eprintln!("skipped: no recorded RouterOS error texts beside this checkout");
        return;
    };
    let recorded = fs::read_to_string(dir.join("errors.json")).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&recorded).unwrap();
    let known: Vec<&str> = recorded["errors"].as_array().unwrap().iter().map(|e| e["text"].as_str().unwrap()).collect();
    let ours: serde_json::Value = serde_json::from_str(&fs::read_to_string(data_file("errors.json")).unwrap()).unwrap();
    for error in ours["errors"].as_array().unwrap() {
        let text = error["text"].as_str().unwrap();
        let origin = error["origin"].as_str().unwrap();
        assert!(!origin.is_empty(), "{text}: no origin");
        if error["tag"] != "I" {
            assert!(known.contains(&text), "{text}: not among the recorded texts");
        }
    }
}
