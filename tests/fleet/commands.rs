//! `sitepeer fleet plan|provision|status|remove`.

use std::process::Command;

use crate::stage::Stage;

const WELL: &[&str] = &[];

#[tokio::test]
async fn a_fleet_is_planned_provisioned_looked_at_and_removed_and_a_second_run_changes_nothing() {
    let stage = Stage::of(&[WELL; 4]).await;
    let planned = stage.run("plan", &[]).await;
    assert_eq!((planned.code, &planned.result["result"]), (Some(3), &"pending".into()), "{}", planned.stderr);
    assert_eq!(planned.names("pending").len(), 4);
    assert_eq!((0..4).map(|number| stage.own_rows(number)).sum::<usize>(), 0, "a plan writes nothing");

    let first = stage.run("provision", &["--yes", "--timeout", "20"]).await;
    assert_eq!((first.code, &first.result["well"]), (Some(0), &4.into()), "{}\n{}", first.result, first.stderr);
    assert!((0..4).all(|number| stage.own_rows(number) > 0));
    let again = stage.run("provision", &["--yes", "--timeout", "20"]).await;
    assert_eq!((again.code, &again.result["writes"]), (Some(0), &0.into()), "{}", again.result);
    assert!(again.names("skipped").is_empty(), "a run that came to its end is not gone on with");
    assert_eq!(stage.run("plan", &[]).await.code, Some(0));
    let status = stage.run("status", &[]).await;
    assert_eq!((status.code, &status.result["well"]), (Some(0), &4.into()), "{}", status.result);
    assert_eq!(status.ended(3).unwrap()["status"]["site"], "fleet3");

    let removed = stage.run("remove", &["--yes"]).await;
    assert_eq!((removed.code, &removed.result["result"]), (Some(0), &"removed".into()), "{}", removed.stderr);
    assert_eq!((0..4).map(|number| stage.own_rows(number)).sum::<usize>(), 0);
}

#[tokio::test]
async fn only_what_is_selected_is_touched_and_nothing_selected_names_the_tags() {
    let stage = Stage::of(&[WELL; 3]).await;
    let one = stage.run("plan", &["--select", "tag=even", "--select", "name=router-2"]).await;
    assert_eq!(one.order(), ["router-2"]);
    let two = stage.run("plan", &["--select", "tag=even"]).await;
    assert_eq!(two.result["selected"], 2);
    let none = stage.run("plan", &["--select", "tag=odd"]).await;
    assert_eq!((none.code, &none.result["code"]), (Some(2), &"nothing-selected".into()));
    assert_eq!(none.result["hint"], "its tags are: all, even");
    let both = stage.run("plan", &["--select", "tag=even", "--select", "name=router-1"]).await;
    assert_eq!(both.code, Some(2), "all of them must hold");
}

#[tokio::test]
async fn a_canary_that_fails_leaves_all_others_untouched_and_the_next_run_goes_on() {
    let mut stage = Stage::of(&[&["trap-on-write=3"], WELL, WELL]).await;
    let stopped = stage.run("provision", &["--yes", "--timeout", "20", "--canary", "1"]).await;
    assert_eq!((stopped.code, &stopped.result["result"]), (Some(3), &"found".into()), "{}", stopped.stderr);
    assert_eq!((stopped.names("failed"), stopped.names("untouched")), (vec!["router-0"], vec!["router-1", "router-2"]));
    assert_eq!((stage.own_rows(1), stage.own_rows(2)), (0, 0));
    let go_on = stopped.result["go_on"].as_str().unwrap();
    assert!(
        go_on.starts_with("sitepeer fleet provision --fleet fleet.toml ") && go_on.contains("--canary 1"),
        "{go_on}"
    );
    // The fault is over. The same command goes on.
    stage.routers[0] = sitepeer::sim::SimRouter::start(sitepeer::sim::SimOptions {
        api_ssl: None,
        lan: "192.168.100.1/24".parse().unwrap(),
        ..sitepeer::sim::SimOptions::default()
    })
    .await
    .unwrap();
    stage.write();
    let through = stage.run("provision", &["--yes", "--timeout", "20", "--canary", "1"]).await;
    assert_eq!((through.code, &through.result["well"]), (Some(0), &3.into()), "{}\n{}", through.result, through.stderr);
}

#[tokio::test]
async fn waves_stop_when_too_many_failed_and_what_is_done_is_skipped_until_it_changes_or_again_is_said() {
    let mut stage = Stage::of(&[WELL, WELL, &["refuse-login"], &["refuse-login"], WELL]).await;
    let waves = ["--yes", "--timeout", "20", "--canary", "1", "--wave", "1", "--max-failures", "1", "--pause", "1s"];
    let begun = std::time::Instant::now();
    let stopped = stage.run("provision", &waves).await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(3), "it pauses between waves");
    assert_eq!(stopped.order(), ["router-0", "router-1", "router-2", "router-3"]);
    assert_eq!((stopped.names("failed"), stopped.names("untouched")), (vec!["router-2", "router-3"], vec!["router-4"]));
    assert_eq!(stage.own_rows(4), 0);

    let next = stage.run("provision", &waves).await;
    assert_eq!(next.names("skipped"), ["router-0", "router-1"]);
    assert!(!next.order().contains(&"router-0"), "{:?}", next.order());
    // Of one of them something else is wanted: it is not done any more.
    stage.sites[1].keepalive_secs = 30;
    stage.write();
    let changed = stage.run("provision", &waves).await;
    assert_eq!((changed.names("skipped"), changed.order()[0]), (vec!["router-0"], "router-1"));
    let again = stage.run("provision", &[&waves[..], &["--again"]].concat()).await;
    assert_eq!((again.names("skipped").len(), again.order()[0]), (0, "router-0"));
}

#[tokio::test]
async fn a_damaged_state_file_stops_and_names_itself_and_again_writes_it_anew() {
    let stage = Stage::of(&[WELL]).await;
    let file = stage.folder.path().join("fleet.provision.state");
    for text in [
        "",
        "{",
        "{\"version\":2,\"operation\":\"provision\",\"done\":{}}",
        "{\"version\":1,\"operation\":\"remove\",\"done\":{}}",
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = stage.run("provision", &["--yes"]).await;
        assert_eq!((refused.code, &refused.result["code"]), (Some(2), &"state-file".into()), "{text}");
        assert!(
            refused.result["message"].as_str().unwrap().starts_with("fleet.provision.state: "),
            "{}",
            refused.result
        );
    }
    let anew = stage.run("provision", &["--yes", "--again", "--timeout", "20"]).await;
    assert_eq!(anew.code, Some(0), "{}", anew.stderr);
    assert!(!file.exists(), "nothing is left of a run that came to its end");
}

#[tokio::test]
async fn where_it_cannot_be_kept_who_is_done_no_router_is_begun_with() {
    let stage = Stage::of(&[WELL, WELL]).await;
    let refused = stage.run("provision", &["--yes", "--timeout", "20", "--state", "gone/fleet.state"]).await;
    assert_eq!((refused.code, &refused.result["code"]), (Some(2), &"state-file".into()), "{}", refused.result);
    assert!(refused.result["message"].as_str().unwrap().contains("gone/fleet.state"), "{}", refused.result);
    assert_eq!((stage.own_rows(0), stage.own_rows(1)), (0, 0));
}

#[tokio::test]
async fn a_dead_router_and_one_without_password_are_told_and_hold_up_nobody() {
    let stage = Stage::of(&[&["refuse-login"], WELL]).await;
    let looked = stage.run("plan", &["--at-once", "1"]).await;
    assert_eq!(
        (looked.code, looked.names("failed"), looked.names("pending")),
        (Some(3), vec!["router-0"], vec!["router-1"])
    );
    assert_eq!(looked.ended(0).unwrap()["code"], "login-refused");
    let output = stage.command("plan", &["--json"]).env_remove("ROUTERS").output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\"code\":\"no-password\"").count(), 2, "{text}");
}

#[tokio::test]
async fn ctrl_c_lets_the_router_under_way_end_and_begins_with_no_other() {
    let stage = Stage::of(&[WELL; 3]).await;
    let mut told = false;
    let arguments = ["--yes", "--timeout", "20", "--at-once", "1"];
    let stopped = stage
        .watch("provision", &arguments, |line, child| {
            if !told && line["says"]["event"] == "written" {
                told = true;
                let id = child.id().unwrap().to_string();
                assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
            }
        })
        .await;
    assert_eq!((stopped.code, &stopped.result["result"]), (Some(130), &"interrupted".into()), "{}", stopped.stderr);
    assert_eq!(stopped.ended(0).unwrap()["result"], "converged");
    assert_eq!(stopped.names("untouched"), ["router-1", "router-2"]);
    let next = stage.run("provision", &arguments).await;
    assert_eq!((next.code, next.names("skipped")), (Some(0), vec!["router-0"]), "{}", next.stderr);
}

#[tokio::test]
async fn a_write_without_terminal_needs_yes_and_people_get_a_table() {
    let stage = Stage::of(&[WELL; 2]).await;
    let refused = stage.run("provision", &[]).await;
    assert_eq!((refused.code, &refused.result["code"]), (Some(2), &"needs-yes".into()));
    let output = stage.command("plan", &[]).output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("ROUTER    RESULT") && lines[1].starts_with("router-0  pending"), "{out}");
    assert!(err.contains("[2/2] router-") && err.contains("2 routers: 2 to be changed"), "{err}");
}
