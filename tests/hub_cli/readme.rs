//! The README says what the code does.

use clap::Parser as _;
use sitepeer::cli::args::Args;
use sitepeer::hub::config::{self, HubConfig};

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md")
}

#[test]
fn the_table_of_settings_is_the_code_s() {
    let text = readme();
    let (_, rest) = text.split_once("tests/hub_cli/readme.rs -->\n").expect("the table's begin");
    let (table, _) = rest.split_once("<!-- end of settings -->").expect("the table's end");
    assert_eq!(table.trim_end(), config::markdown().trim_end(), "put what hub::config::markdown() says into README.md");
}

#[test]
fn every_hub_command_of_the_readme_can_be_typed() {
    let text = readme();
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with("sitepeer hub ") || line.starts_with("sitepeer hub\n")) {
        let words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let Err(error) = Args::try_parse_from(words) {
            panic!("{line}\n{error}");
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} commands found: is this the README?");
}

#[test]
fn the_config_of_the_readme_is_one() {
    let text = readme();
    let (_, rest) = text.split_once("```toml\n# /etc/sitepeer/hub.toml").expect("the config");
    let (example, _) = rest.split_once("```").expect("its end");
    let example = format!("#{example}").replace("database_url_file", "# database_url_file");
    let config = HubConfig::parse(&example, std::path::Path::new("hub.toml")).expect("a config");
    assert_eq!(config.domain.as_deref(), Some("vpn.example.net"));
}
