//! Routers that lie, and routers whose words are chosen to do harm.

use std::time::Duration;

use sitepeer::cli::args::Subject;

use crate::meddler::{Fate, Meddler, Said, is_row, said, with, without};
use crate::run::{self, Run, access, provision_of};
use crate::world::{SHORT_PROOF, World, assert_same, with_ids};

async fn provision_through(meddler: &Meddler, world: &World) -> Run {
    let mut command = provision_of(access("admin", "", meddler.address), world.site().load());
    command.proof_timeout = SHORT_PROOF;
    let site = world.site();
    let run = run::provision(command, async |event| {
        if event["event"] == "public_key" {
            world.hub.set_peer(site.hub_peer(event["public_key"].as_str().unwrap())).await.unwrap();
        }
    });
    tokio::time::timeout(Duration::from_mins(1), run).await.expect("a run ends")
}

/// A field of some menu's rows that a router tells otherwise.
type Lie = (&'static str, fn(Said) -> Said);

#[tokio::test]
async fn rows_that_cannot_be_told_apart_stop_a_run_before_it_writes() {
    let lies: [Lie; 5] = [
        ("/ip/address/print", |row| without(row, ".id")),
        ("/ip/firewall/filter/print", |row| with(row, ".id", b"*1")),
        ("/interface/print", |row| with(row, ".id", b"*1,*2")),
        ("/interface/list/print", |row| with(row, ".id", b"*1 *2")),
        ("/interface/wireguard/print", |row| with(row, ".id", b"")),
    ];
    for (path, lie) in lies {
        let world = World::start().await;
        let before = with_ids(&world);
        let meddler = Meddler::replies(&world.router, move |at, said| {
            vec![if at == path && is_row(&said) { lie(said) } else { said }]
        })
        .await;
        let run = provision_through(&meddler, &world).await;
        assert_eq!((run.failed(), run.writes()), ((4, "garbage"), 0), "{path}: {run:?}");
        assert!(run.result["message"].as_str().unwrap().contains(path.trim_end_matches("/print")), "{run:?}");
        assert_same(&before, &with_ids(&world), path);
    }
}

#[tokio::test]
async fn a_print_without_end_is_given_up() {
    let world = World::start().await;
    let meddler = Meddler::replies(&world.router, |at, said| {
        if at != "/ip/address/print" || said[0] != b"!done" {
            return vec![said];
        }
        let mut row = said;
        row[0] = b"!re".to_vec();
        (0..60_000).map(|n| with(row.clone(), ".id", format!("*F{n:X}").as_bytes())).collect()
    })
    .await;
    let run = provision_through(&meddler, &world).await;
    assert_eq!((run.failed(), run.writes()), ((4, "too-many-rows"), 0), "{run:?}");
}

#[tokio::test]
async fn a_list_that_lacks_its_end_is_no_list() {
    let world = World::start().await;
    let meddler = Meddler::replies(&world.router, |at, said| {
        // The answer to another command ends in its place.
        let is_end = at == "/ip/route/print" && said[0] == b"!done";
        if is_end { vec![] } else { vec![said] }
    })
    .await;
    let mut command = provision_of(access("admin", "", meddler.address), world.site().load());
    command.access.deadlines.command = Duration::from_secs(1);
    let run = run::provision(command, async |_| {}).await;
    assert_eq!((run.failed(), run.writes()), ((4, "no-answer"), 0), "{run:?}");
}

#[tokio::test]
async fn a_router_that_takes_writes_and_changes_nothing_is_unsettled_and_not_asked_for_ever() {
    let world = World::start().await;
    let before = with_ids(&world);
    let is_lock = |said: &Said| said.iter().any(|word| word == b"=list=sitepeer-lock");
    let meddler = Meddler::start(
        &world.router,
        move |command| match command[0].as_slice() {
            path if path.ends_with(b"/add") && !is_lock(command) => Fate::Answer(vec![said(&["!done", "=ret=*FFFF"])]),
            _ => Fate::Pass,
        },
        |_, said| vec![said],
    )
    .await;
    let run = provision_through(&meddler, &world).await;
    assert_eq!(run.failed(), (3, "unsettled"), "{run:?}");
    assert!(run.writes() < 40, "{run:?}");
    assert_same(&before, &with_ids(&world), "nothing was changed, and the lock is gone");
}

#[tokio::test]
async fn a_router_that_forgets_every_write_does_not_get_past_the_lock() {
    let world = World::start().await;
    let before = with_ids(&world);
    let meddler = Meddler::start(
        &world.router,
        |command| {
            let is_add = command[0].ends_with(b"/add");
            if is_add { Fate::Answer(vec![said(&["!done", "=ret=*FFFF"])]) } else { Fate::Pass }
        },
        |_, said| vec![said],
    )
    .await;
    let run = provision_through(&meddler, &world).await;
    assert_eq!((run.failed(), run.written()), ((5, "busy"), vec![]), "{run:?}");
    assert_same(&before, &with_ids(&world), "nothing reached the router");
}

#[tokio::test]
async fn an_add_that_is_answered_without_its_id_still_converges() {
    let world = World::start().await;
    let meddler = Meddler::replies(&world.router, |at, said| {
        vec![if at.ends_with("/add") { without(said, "ret") } else { said }]
    });
    let run = provision_through(&meddler.await, &world).await;
    run.assert_result("converged");
    let rows = world.router.state(sitepeer::sim::StateOptions { ids: false, dynamic: true });
    let locks = rows.rows("/ip/firewall/address-list").iter().filter(|row| row["list"] == b"sitepeer-lock").count();
    assert_eq!(locks, 0, "the lock is gone");
}

#[tokio::test]
async fn rows_that_change_with_every_reading_end_as_unsettled() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    let mut mtu = 1300;
    let meddler = Meddler::replies(&world.router, move |at, said| {
        let is_ours = said.iter().any(|word| word.starts_with(b"=comment=sitepeer:"));
        mtu += 1;
        vec![if at == "/interface/wireguard/print" && is_ours {
            with(said, "mtu", mtu.to_string().as_bytes())
        } else {
            said
        }]
    })
    .await;
    let run = provision_through(&meddler, &world).await;
    assert_eq!(run.failed(), (3, "unsettled"), "{run:?}");
    assert!(run.writes() < 10, "{run:?}");
}

#[tokio::test]
async fn a_refusal_in_an_odd_place_ends_the_run_with_the_router_s_words() {
    for path in ["/system/identity/print", "/system/clock/print", "/ip/route/print", "/user/active/print"] {
        let world = World::start().await;
        let meddler = Meddler::start(
            &world.router,
            move |command| {
                let trap = || vec![said(&["!trap", "=message=the cat sat on it"]), said(&["!done"])];
                if command[0] == path.as_bytes() { Fate::Answer(trap()) } else { Fate::Pass }
            },
            |_, said| vec![said],
        )
        .await;
        let run = provision_through(&meddler, &world).await;
        assert_eq!((run.exit(), run.writes()), (3, 0), "{path}: {run:?}");
        let message = run.result["message"].as_str().unwrap();
        assert!(
            message.contains("the cat sat on it") && message.contains(path.trim_end_matches("/print")),
            "{message}"
        );
    }
}

/// Moves the cursor, colours, begins a line, turns the reading direction, hides.
const EVIL: &str = "x\u{1b}[2J\u{1b}[31m\r\nerror: all is lost\u{9b}31m\u{202e}txt\u{200b}\u{7}";

#[tokio::test]
async fn words_of_a_router_cannot_steer_a_terminal() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    world.router.operator("/system/identity/set", &[("name", EVIL.as_bytes())]).await.unwrap();
    let meddler = Meddler::replies(&world.router, |at, said| {
        let is_evil = is_row(&said) && ["/system/resource/print", "/interface/wireguard/peers/print"].contains(&at);
        let said = if is_evil { with(said, "board-name", EVIL.as_bytes()) } else { said };
        vec![if is_evil { with(said, "endpoint-address", EVIL.as_bytes()) } else { said }]
    })
    .await;
    let shown = run::for_people(async |reporter| {
        let access = access("admin", "", meddler.address);
        let status = sitepeer::cli::args::Status { access: access.clone(), subject: Subject::Only, hub: None };
        sitepeer::cli::status::run(status, reporter).await?;
        let plan = sitepeer::cli::args::Plan { access, source: run::from_file(world.site().load()) };
        sitepeer::cli::plan::run(plan, reporter).await
    })
    .await;
    assert!(shown.contains("all is lost"), "the words are shown, tamed: {shown}");
    let steers = |c: &char| (c.is_control() && *c != '\n') || ['\u{202e}', '\u{200b}'].contains(c);
    assert_eq!(shown.chars().find(steers), None, "{shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("error: all")), "{shown:?}");
}

#[tokio::test]
async fn numbers_beyond_all_reason_end_in_words_and_not_in_a_panic() {
    let huge =
        [b"18446744073709551615s".as_slice(), b"99999999999999999999999w", b"30500568904943w", b"-1", b"\xff\xfe"];
    for value in huge {
        let world = World::start().await;
        let lie = move |at: &str, said: Said| {
            if !is_row(&said) {
                return vec![said];
            }
            let fields: &[&str] = match at {
                "/interface/wireguard/peers/print" => &["last-handshake", "rx", "tx", "persistent-keepalive"],
                "/tool/ping" => &["time"],
                "/system/clock/print" => &["time", "gmt-offset"],
                "/interface/wireguard/print" => &["mtu", "listen-port"],
                _ => &[],
            };
            vec![fields.iter().fold(said, |said, field| with(said, field, value))]
        };
        world.provision(&world.site()).await.assert_result("converged");
        let meddler = Meddler::replies(&world.router, lie).await;
        let run = provision_through(&meddler, &world).await;
        assert_eq!(run.exit(), 3, "{:?}: {run:?}", value.escape_ascii().to_string());
        let access = access("admin", "", meddler.address);
        let status = run::status(sitepeer::cli::args::Status { access, subject: Subject::Only, hub: None }).await;
        assert!([0, 3].contains(&status.exit()), "{status:?}");
    }
    let world = World::start().await;
    let meddler = Meddler::replies(&world.router, |at, said| {
        let is_clock = at == "/system/clock/print" && is_row(&said);
        vec![if is_clock { with(said, "time", b"2562047788015215:30:07") } else { said }]
    })
    .await;
    provision_through(&meddler, &world).await.assert_result("converged");
}

#[tokio::test]
async fn a_comment_of_a_megabyte_behind_our_marker_is_no_drift() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    let long = vec![b'a'; 1 << 20];
    let meddler = Meddler::replies(&world.router, move |at, said| {
        let is_ours = said.iter().any(|word| word.starts_with(b"=comment=sitepeer:"));
        let is_peer = at == "/interface/wireguard/peers/print" && is_ours;
        vec![if is_peer {
            with(said, "comment", &[b"sitepeer:k3f9q2:hub probe=10.99.0.1 ", &long[..]].concat())
        } else {
            said
        }]
    })
    .await;
    let run = provision_through(&meddler, &world).await;
    run.assert_result("converged");
    assert_eq!(run.writes(), 0, "the note is right, and what people wrote behind it is theirs");
}
