//! Databases on the PostgreSQL that `tests/with_postgres.sh` starts.

use std::process::Command;

use crate::netns::unique;

/// Makes an empty database and returns its URL, or says why there is none.
pub fn database(label: &str) -> Option<String> {
    let Ok(server) = std::env::var("SITEPEER_TEST_POSTGRES") else {
        println!("skipped: no SITEPEER_TEST_POSTGRES");
        return None;
    };
    let database = format!("{label}{}", unique());
    let made = Command::new("psql").args([&server, "-q", "-c", &format!("CREATE DATABASE {database}")]).status();
    assert!(made.unwrap().success(), "psql");
    let (base, _) = server.rsplit_once('/').unwrap();
    Some(format!("{base}/{database}"))
}
