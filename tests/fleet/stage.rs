//! A fleet of simulated routers around one hub, its file, and the program that works on it.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use sitepeer::sim::plane::HubEnd;
use sitepeer::sim::{SimOptions, SimRouter, StateOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::schema;
use crate::site::SiteText;
use crate::world;

/// Routers, each with a site of its own.
pub struct Stage {
    pub hub: HubEnd,
    pub routers: Vec<SimRouter>,
    pub sites: Vec<SiteText>,
    pub folder: tempfile::TempDir,
}

/// How a run of the program ended.
pub struct Run {
    pub code: Option<i32>,
    /// Each line of `--json`.
    pub lines: Vec<Value>,
    pub result: Value,
    pub stderr: String,
}

impl Stage {
    /// Of routers that have these faults; the first is `router-0`. All are tagged `all`, those with an even number `even`.
    pub async fn of(faults: &[&[&str]]) -> Self {
        let hub = world::hub().await;
        let (mut routers, mut sites) = (Vec::new(), Vec::new());
        for (number, faults) in faults.iter().enumerate() {
            let lan = format!("192.168.{}.1/24", 100 + number).parse().unwrap();
            let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
            let options = SimOptions { api_ssl: None, lan, faults, ..SimOptions::default() };
            routers.push(SimRouter::start(options).await.unwrap());
            sites.push(SiteText {
                id: format!("fleet{number}"),
                addresses: vec![format!("10.99.0.{}/24", 10 + number)],
                advertise: vec![format!("192.168.{}.0/24", 100 + number)],
                reach: vec!["10.99.0.0/24".to_owned()],
                ..SiteText::a(&hub)
            });
        }
        let stage = Self { hub, routers, sites, folder: tempfile::tempdir().unwrap() };
        stage.write();
        stage
    }

    /// Writes the fleet file and its site configs.
    pub fn write(&self) {
        let mut text = "version = 1\n[defaults]\npassword_env = \"ROUTERS\"\n".to_owned();
        for (number, (router, site)) in self.routers.iter().zip(&self.sites).enumerate() {
            let path = site.write(self.folder.path());
            let tags = if number % 2 == 0 { "[\"all\", \"even\"]" } else { "[\"all\"]" };
            text += &format!("[[router]]\nname = \"router-{number}\"\nurl = \"api://admin@{}\"\n", router.api_addr());
            text += &format!("site = {:?}\ntags = {tags}\n", path.file_name().unwrap().to_str().unwrap());
        }
        fs::write(self.folder.path().join("fleet.toml"), text).unwrap();
    }

    /// How many rows of ours a router has.
    pub fn own_rows(&self, number: usize) -> usize {
        let state = self.routers[number].state(StateOptions::default());
        let is_ours = |row: &&world::Row| row.get("comment").is_some_and(|words| words.starts_with(b"sitepeer:"));
        ["/interface/wireguard/peers", "/ip/address"]
            .iter()
            .map(|menu| state.rows(menu).iter().filter(is_ours).count())
            .sum()
    }

    pub fn command(&self, operation: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
        command.current_dir(self.folder.path()).args(["fleet", operation, "--fleet", "fleet.toml"]).args(arguments);
        command.env_clear().env("ROUTERS", "").env("XDG_RUNTIME_DIR", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs it with `--json` to its end; whoever shows a public key has it entered at the hub.
    pub async fn run(&self, operation: &str, arguments: &[&str]) -> Run {
        self.watch(operation, arguments, |_, _| {}).await
    }

    /// The same; `see` sees each line, and the process.
    pub async fn watch(&self, operation: &str, arguments: &[&str], mut see: impl FnMut(&Value, &Child)) -> Run {
        let mut child = self.command(operation, arguments).arg("--json").spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut err = child.stderr.take().unwrap();
        let mut lines: Vec<Value> = Vec::new();
        while let Some(line) = out.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            if let Some(key) = line["says"]["public_key"].as_str() {
                let number: usize = line["router"].as_str().unwrap().trim_start_matches("router-").parse().unwrap();
                self.hub.set_peer(self.sites[number].hub_peer(key)).await.unwrap();
            }
            see(&line, &child);
            lines.push(line);
        }
        let mut stderr = String::new();
        err.read_to_string(&mut stderr).await.unwrap();
        let code = child.wait().await.unwrap().code();
        let text = lines.iter().fold(String::new(), |text, line| text + &format!("{line}\n"));
        let result = schema::assert_output("fleet", &text);
        assert_eq!(code.map(Value::from), Some(result["exit"].clone()), "{result}\n{stderr}");
        Run { code, lines, result, stderr }
    }
}

impl Run {
    /// Names in a list of the result.
    pub fn names(&self, key: &str) -> Vec<&str> {
        self.result[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
    }

    /// The result of one router, if it had its turn.
    pub fn ended(&self, number: usize) -> Option<&Value> {
        let name = format!("router-{number}");
        self.lines
            .iter()
            .find(|line| line["router"] == name.as_str() && !line["ended"].is_null())
            .map(|line| &line["ended"])
    }

    /// Routers in the order in which they were begun with.
    pub fn order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::new();
        for name in self.lines.iter().filter_map(|line| line["router"].as_str()) {
            if !order.contains(&name) {
                order.push(name);
            }
        }
        order
    }
}
