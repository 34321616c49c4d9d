//! Files: backups, damage, other versions, two hubs.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitepeer::api::*;
use sitepeer::domain::Secret;
use sitepeer::hub::store::{StoreConfig, StoreError, admin_token, backup, first_admin, open, restore};
use sqlx::Connection as _;

use crate::world::*;

async fn execute(file: &Path, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&format!("sqlite://{}?mode=rwc", file.display())).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_backup_of_a_running_store_comes_back_and_everybody_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("hub.db"), folder.path().join("copy.db"));
    let config = StoreConfig::Sqlite(file.clone());
    let world = World::open(&config).await;
    let account = world.account("kept").await;
    let gateway = world.gateway("gw", "eu").await;
    let instance = world.instance(&account, "main").await.id;
    let revision = world.serve(&gateway).await;
    backup(&config, &copy).await.unwrap();
    assert_eq!((mode(&copy), mode(&file)), (0o600, 0o600));
    assert!(matches!(backup(&config, &copy).await, Err(StoreError::State { .. })), "a backup replaces nothing");
    world.account("after the backup").await;

    assert!(matches!(restore(&config, &copy).await, Err(StoreError::Unavailable(_))), "a hub is running");
    drop(world);
    restore(&config, &copy).await.unwrap();
    let world = World::open(&config).await;
    let accounts = world.store.accounts(&world.admin, &page(10)).await.unwrap().items;
    assert_eq!(accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>(), ["kept"]);
    let told = world.store.gateway_desired(&gateway, revision).await.unwrap().unwrap();
    assert!(told.restart, "{told:?}");
    assert_eq!(world.told(&gateway, 0).await.instances[0].id, instance);
    let before = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(".before-"));
    assert!(before.count() >= 1, "what was there is kept");
}

#[tokio::test]
async fn a_damaged_or_foreign_file_stops_with_its_path_and_is_never_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.db");
    let config = StoreConfig::Sqlite(file.clone());
    let world = World::open(&config).await;
    for number in 0..50 {
        world.account(&format!("account {number}")).await;
    }
    drop(world);
    let copy = folder.path().join("copy.db");
    backup(&config, &copy).await.unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 40_000].fill(0x5a);
    let broken = folder.path().join("broken.db");
    std::fs::write(&broken, &bytes).unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, "this is no database, and long enough to be looked at as one ".repeat(100)).unwrap();
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    for damaged in [&broken, &garbage, &empty] {
        let size = std::fs::metadata(damaged).unwrap().len();
        let error = open(&StoreConfig::Sqlite(damaged.clone())).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(&damaged.display().to_string()) && error.source().is_some(), "{error}");
        assert!(restore(&config, damaged).await.is_err(), "nor is it restored");
        let never = folder.path().join("never.db");
        let error = backup(&StoreConfig::Sqlite(damaged.clone()), &never).await.unwrap_err();
        assert!(error.to_string().contains(&damaged.display().to_string()), "{error}");
        assert!(!never.exists() && !folder.path().join("never.db.new").exists(), "half a copy stays");
        assert_eq!(std::fs::metadata(damaged).unwrap().len(), size);
    }
    assert_eq!(
        World::open(&config).await.store.accounts(&World::open_admin(), &page(100)).await.unwrap().items.len(),
        50
    );
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_one_of_the_first_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.db");
    drop(open(&StoreConfig::Sqlite(newer.clone())).await.unwrap());
    execute(&newer, "INSERT INTO schema_version (version, at) VALUES (999, 0)").await;
    let error = open(&StoreConfig::Sqlite(newer)).await.unwrap_err();
    assert!(error.source().is_some_and(|source| source.to_string().contains("newer")), "{error:?}");

    let first = folder.path().join("first.db");
    execute(&first, include_str!("schema-1.sql")).await;
    let world = World::open(&StoreConfig::Sqlite(first)).await;
    let peers =
        world.store.peers(&world.admin, &sitepeer::hub::store::PeerFilter::default(), &page(10)).await.unwrap().items;
    assert_eq!(
        (peers.len(), peers[0].name.as_str(), peers[0].subnets.to_string().as_str()),
        (1, "branch", "10.1.0.0/24")
    );
    let next = world.peer(&peers[0].instance, client_peer("c", Some(key(1)))).await.unwrap();
    assert_eq!(next.addresses[0].to_string(), "10.99.0.3");
}

#[tokio::test]
async fn a_file_belongs_to_one_hub_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::Sqlite(folder.path().join("a # b?c%.db"));
    let first = open(&config).await.unwrap();
    let second = open(&config).await.unwrap_err();
    assert!(second.source().is_some_and(|source| source.to_string().contains("running hub")), "{second:?}");
    drop(first);
    open(&config).await.unwrap();
    assert!(folder.path().join("a # b?c%.db").is_file());
}

#[tokio::test]
async fn the_first_start_makes_one_administrator_and_writes_the_token_where_only_its_owner_reads_it() {
    let databases = Databases::new();
    let folder = tempfile::tempdir().unwrap();
    for (number, config) in databases.configs("first").into_iter().enumerate() {
        let world = World::open(&config).await;
        let missing = folder.path().join("no such folder").join("admin.token");
        assert!(first_admin(&*world.store, &missing).await.is_err());
        let file = folder.path().join(format!("admin-{number}.token"));
        assert!(first_admin(&*world.store, &file).await.unwrap());
        assert!(!first_admin(&*world.store, &folder.path().join("other")).await.unwrap(), "there is one");
        assert_eq!(mode(&file), 0o600);
        let token = Secret::new(std::fs::read_to_string(&file).unwrap());
        let who = world.store.authenticate(&token).await.unwrap().expect("a token");
        assert!(matches!(who, sitepeer::hub::store::Principal::Token { role: Role::Admin, .. }), "{who:?}");
        assert_eq!(world.store.tokens(&world.admin, &page(10)).await.unwrap().items.len(), 1);
    }
}

#[tokio::test]
async fn an_administrators_token_is_made_beside_a_running_hub() {
    let databases = Databases::new();
    for config in databases.configs("rescue") {
        let refused = admin_token(&config, "too early").await;
        assert!(matches!(refused, Err(StoreError::State { .. })), "nothing is made of nothing: {refused:?}");
        let world = World::open(&config).await;
        let made = admin_token(&config, "rescue").await.unwrap();
        let who = world.store.authenticate(&made.secret).await.unwrap().expect("a token");
        assert!(matches!(who, sitepeer::hub::store::Principal::Token { role: Role::Admin, .. }), "{who:?}");
        let log = world.store.audit(&world.admin, &page(10)).await.unwrap().items;
        assert_eq!((log[0].action.as_str(), log[0].who.as_str()), ("token.create", "the hub's own machine"));
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told_with_its_reason_and_without_its_password() {
    // Nobody listens on the first port.
    let config = StoreConfig::Postgres(Secret::new("postgres://hub:hunter2@127.0.0.1:1/hub".to_owned()));
    for error in [open(&config).await.unwrap_err(), admin_token(&config, "x").await.unwrap_err()] {
        let why = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(why.contains("postgres://127.0.0.1:1/hub") && why.contains("refused"), "{error:?}");
        assert!(!format!("{error:?} {why}").contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_can_be_written_each_agent_is_told_so_at_once_and_not_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.db");
    let world = Arc::new(World::open(&StoreConfig::Sqlite(file.clone())).await);
    let account = world.account("a").await;
    let site = world.site(&account, "s").await;
    let instance = world.instance(&account, "main").await.id;
    let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
    let batch = |number| AgentReports {
        epoch: "e".to_owned(),
        reports: vec![AgentReport::new(
            number,
            number,
            TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None },
        )],
        dropped: 0,
        sent_at: None,
    };
    let mut other = sqlx::AnyConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let begun = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for number in 1..=40 {
        let (world, peer, batch) = (Arc::clone(&world), peer.clone(), batch(number));
        calls.spawn(async move { world.store.agent_reports(&peer, batch).await });
    }
    while let Some(answer) = calls.join_next().await {
        assert!(matches!(answer.unwrap(), Err(StoreError::Unavailable(_))), "not acknowledged before it is written");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(world.store.agent_reports(&peer, batch(41)).await.unwrap().number, 41);
}
