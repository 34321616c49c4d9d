use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<HubConfig, HubConfigError> {
    HubConfig::parse(text, Path::new("hub.toml"))
}

fn refusal(text: &str) -> String {
    let error = parse(text).unwrap_err();
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
    assert!(config.tls.is_none() && config.database_url.is_none() && !config.metrics_open);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_its_neighbour() {
    assert_eq!(
        refusal("# hub\nlisten = \"127.0.0.1:1\"\n  tls_crt = \"a\""),
        "hub.toml:3:3: unknown key `tls_crt`; did you mean `tls_cert`?"
    );
    assert!(refusal("colour = 1").starts_with("hub.toml:1:1: unknown key `colour`; valid keys: listen, "));
}

#[test]
fn wrong_values_are_told_with_place_and_way_out() {
    assert_eq!(refusal("report_secs = 0"), "hub.toml:1:15: `report_secs`: must be a number from 1 to 60");
    assert_eq!(refusal("listen = 8443"), "hub.toml:1:10: `listen`: must be a string in quotes, not integer");
    assert!(refusal("listen = \"0.0.0.0:8443\"").contains("is not loopback, and there is no TLS; set tls_cert"));
    assert!(refusal("tls_cert = \"a\"").ends_with("needs tls_key beside it"));
    assert!(refusal("trusted_proxies = [\"10.0.0.0\"]").contains("\"10.0.0.0\" is not a prefix"));
    assert!(refusal("domain = \"a..b\"").contains("is not a DNS name"));
    assert!(refusal("listen = ").starts_with("hub.toml:1:"));
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "report_secs = 20\nmax_connections = 100\nenroll_per_minute = 7").unwrap();
    let environment = |name: &str| match name {
        "SITEPEER_HUB_REPORT_SECS" => Some("30".to_owned()),
        "SITEPEER_HUB_MAX_CONNECTIONS" => Some("200".to_owned()),
        _ => None,
    };
    let flags = [("max-connections".to_owned(), "300".to_owned())];
    let config = HubConfig::load(Some(file.path()), environment, &flags).unwrap();
    assert_eq!((config.report_secs, config.max_connections, config.enroll_per_minute), (30, 300, 7));
}

#[test]
fn a_password_in_an_argument_is_refused_and_one_in_a_file_is_not() {
    let secret = "postgres://hub:hunter2@db/sitepeer";
    let flag = [("database_url".to_owned(), secret.to_owned())];
    let error = HubConfig::load(None, |_| None, &flag).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
    assert!(error.to_string().contains("--database-url: `database_url`: a password must not stand in an argument"));
    let config = parse(&format!("database_url = \"{secret}\"")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let named = [("database-url-file".to_owned(), file.path().display().to_string())];
    let config = HubConfig::load(None, |_| None, &named).unwrap();
    assert_eq!(config.database_url.unwrap().expose(), secret, "only the file's name is an argument");
    let bare = [("database_url".to_owned(), "postgres://hub@db/sitepeer".to_owned())];
    assert!(HubConfig::load(None, |_| None, &bare).is_ok());
}

#[test]
fn every_option_stands_in_the_table_with_flag_and_variable() {
    let table = markdown();
    for option in OPTIONS {
        assert!(
            table.contains(&format!("`--{}", option.flag())) && table.contains(&option.variable()),
            "{}",
            option.key
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*", key in "[a-z_]{1,12}") {
        let _one = parse(&text);
        let _two = parse(&format!("{key} = {text}"));
    }
}
