//! Caps: how much one account may have.

use sitepeer::api::*;
use sitepeer::hub::store::StoreConfig;
use sqlx::Connection as _;

use crate::world::*;

/// Writes rows into a store as if they had been made one by one; `SELECT` has their numbers as `n`.
async fn fill(config: &StoreConfig, insert: &str, count: i64) {
    let url = match config {
        StoreConfig::Sqlite(file) => format!("sqlite://{}?mode=rw", file.display()),
        StoreConfig::Postgres(url) => url.expose().to_owned(),
    };
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    let sql = format!(
        "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {count}), \
         made(n, id) AS (SELECT n, 'x' || n FROM number) {insert}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn an_account_fills_no_hub() {
    let databases = Databases::new();
    for config in databases.configs("caps") {
        let world = World::open(&config).await;
        let (account, other) = (world.account("a").await, world.account("b").await);
        let site = world.site(&account, "s").await;
        let large =
            NewInstance { tunnel_subnet: Some("10.200.0.0/16".parse().unwrap()), ..new_instance(&account, "large") };
        let large = world.store.create_instance(&world.admin, None, large).await.unwrap().id;
        let peer = world.peer(&large, site_peer(&site, "p", &[])).await.unwrap().id;

        let new_site =
            |account: &AccountId, name: &str| NewSite { name: name.to_owned(), account: Some(account.clone()) };
        let sites = format!(
            "INSERT INTO site (id, account, name, created_at, version) SELECT id, '{account}', id, 0, 1 FROM made"
        );
        fill(&config, &sites, 19_998).await;
        world.store.create_site(&world.admin, None, new_site(&account, "last")).await.unwrap();
        let refused = world.store.create_site(&world.admin, None, new_site(&account, "one too many")).await;
        assert!(refused.as_ref().unwrap_err().to_string().contains("20000 sites"), "{refused:?}");
        assert_eq!(code_of(refused), code::LIMIT);
        world.store.create_site(&world.admin, None, new_site(&other, "another's")).await.unwrap();

        let new = NewEnrollment { peer: peer.clone(), ttl_secs: None, uses: None };
        let enrollments = format!(
            "INSERT INTO enrollment (id, account, kind, peer, hash, uses, used, created_at, expires_at) \
             SELECT id, '{account}', 'site', '{peer}', '', 1, 0, 0, 9999999999 FROM made"
        );
        fill(&config, &enrollments, 20_000).await;
        assert_eq!(code_of(world.store.create_enrollment(&world.admin, None, new.clone()).await), code::LIMIT);
        fill(&config, "UPDATE enrollment SET used = 1 WHERE id IN (SELECT id FROM made)", 1).await;
        world.store.create_enrollment(&world.admin, None, new).await.unwrap();

        let new_token = |account: &AccountId| NewToken {
            name: "t".to_owned(),
            role: Role::Viewer,
            account: Some(account.clone()),
            region: None,
            ttl_secs: None,
        };
        let tokens = format!(
            "INSERT INTO token (id, name, role, account, hash, created_at) SELECT id, id, 'viewer', '{account}', '', 0 FROM made"
        );
        fill(&config, &tokens, 1000).await;
        assert_eq!(code_of(world.store.create_token(&world.admin, None, new_token(&account)).await), code::LIMIT);
        world.store.create_token(&world.admin, None, new_token(&other)).await.unwrap();

        let peers = format!(
            "INSERT INTO peer (id, instance, account, kind, name, enabled, host, address4, subnets, route_all, keepalive, \
             revision, agent_revision, created_at, version) SELECT id, '{large}', '{account}', 'client', id, 1, n + 100, \
             '10.200.0.9', '[]', 0, 0, 0, 0, 0, 1 FROM made"
        );
        fill(&config, &peers, 19_999).await;
        let refused = world.peer(&large, client_peer("one too many", None)).await;
        assert!(refused.as_ref().unwrap_err().to_string().contains("20000 peers"), "{refused:?}");
        assert_eq!(code_of(refused), code::LIMIT);
    }
}
