//! From a sentence to what the device does: menu, command, rights and arguments are checked here, in this order.

use super::policy::needed;
use super::rows::{View, Wanted};
use super::rules::Rules;
use super::{Device, Refusal, Viewer, rules_of};
use crate::routeros::codec::Sentence;
use crate::sim::faults::Fault;
use crate::sim::schema::{BadValue, parse_duration};

/// Pings an ordinary `/tool/ping` waits between two requests.
const PING_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// One command as a session received it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) attrs: Vec<(String, Vec<u8>)>,
    pub(crate) queries: Vec<Vec<u8>>,
    pub(crate) tag: Option<Vec<u8>>,
}

/// What comes of a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Rows(Vec<View>),
    Done(Option<Vec<u8>>),
    /// Rows as they change, until cancelled.
    Listen {
        rules: &'static Rules,
        wanted: Wanted,
    },
    Ping(PingSpec),
    Reboot,
}

/// A `/tool/ping`.
#[derive(Clone, Debug)]
pub(crate) struct PingSpec {
    pub(crate) address: String,
    /// Without end if `None`.
    pub(crate) count: Option<u32>,
    pub(crate) interval: std::time::Duration,
    pub(crate) size: u16,
    pub(crate) ttl: u8,
    pub(crate) source: Option<std::net::IpAddr>,
}

impl Request {
    pub(crate) fn of(sentence: &Sentence) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            path: text(sentence.first()),
            attrs: sentence.attrs().map(|(k, v)| (text(k), v.to_vec())).collect(),
            queries: sentence.queries().map(<[u8]>::to_vec).collect(),
            tag: sentence.tag().map(<[u8]>::to_vec),
        }
    }

    /// A command from words such as `/ip/address/add` `address=10.0.0.1/24`, for tests and operators.
    pub(crate) fn of_words(path: &str, attrs: &[(&str, &[u8])]) -> Self {
        Self {
            path: path.to_owned(),
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect(),
            queries: Vec::new(),
            tag: None,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.attrs.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_slice())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// A flag such as `count-only`: there, and not `no`.
    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v != b"no" && v != b"false")
    }

    /// Splits `/ip/address/print` into menu and command.
    pub(crate) fn split(&self) -> (&str, &str) {
        match self.path.as_str() {
            // The old name still works where the console no longer lists it. *Source*: tik4net on 7.23.2.
            "/ping" | "/tool/ping" => ("/tool/ping", ""),
            path => path.rsplit_once('/').unwrap_or(("", path)),
        }
    }
}

impl Device {
    /// Executes one command for a user.
    ///
    /// # Errors
    /// [`Refusal`] with what a device would say.
    pub(crate) fn run(&mut self, viewer: &Viewer, request: &Request) -> Result<Answer, Refusal> {
        self.expire();
        let (path, command) = request.split();
        if (path, command) == ("/system", "reboot") {
            return if viewer.may("reboot") { Ok(Answer::Reboot) } else { Err(Refusal::NoPermission) };
        }
        let recorded = match command {
            "getall" | "listen" => "print",
            other => other,
        };
        let Some(menu) = self.schema.menu(path) else {
            return Err(if self.schema.is_directory(path) { Refusal::NoSuchCommand } else { Refusal::NoSuchMenu });
        };
        let known = menu.arguments(recorded).ok_or(Refusal::NoSuchCommand)?;
        let has = |fault| self.options.faults.contains(&fault);
        let closed = match path {
            "/system/script" | "/system/scheduler" => has(Fault::ScriptsClosed),
            "/log" => has(Fault::LogClosed),
            _ => false,
        };
        if !viewer.may(needed(path, command)) || closed {
            return Err(Refusal::NoPermission);
        }
        if command == "listen" && !known.iter().any(|name| name == "follow-only") {
            return Err(Refusal::UnknownParameter("follow-only".to_owned()));
        }
        for (name, _) in &request.attrs {
            let plain = name.strip_prefix('!').unwrap_or(name);
            let addressing = plain == ".proplist" || (plain == ".id" && known.iter().any(|k| k.starts_with("number")));
            if !addressing && !known.iter().any(|k| k == plain) {
                return Err(Refusal::UnknownParameter(plain.to_owned()));
            }
        }
        if path == "/tool/ping" {
            return self.ping(request).map(Answer::Ping);
        }
        if path == super::safe_mode::MENU {
            return self.safe_mode(viewer, command, request);
        }
        let rules = rules_of(path).ok_or(Refusal::NoSuchMenu)?;
        match command {
            "print" | "getall" => self.answer_print(rules, viewer, request),
            "listen" => Ok(Answer::Listen { rules, wanted: self.wanted(rules, request)? }),
            "get" => self.answer_get(rules, viewer, request),
            _ => {
                self.writes += 1;
                let done = self.write(rules, viewer, command, request);
                // What a script does is counted as it does it.
                if done.is_ok() && command != "run" {
                    self.count_action();
                }
                self.settle();
                if let Ok(made) = &done {
                    self.log_change(viewer, request, made.as_deref());
                }
                done.map(|ret| Answer::Done(ret.map(String::into_bytes)))
            }
        }
    }

    fn answer_print(&self, rules: &'static Rules, viewer: &Viewer, request: &Request) -> Result<Answer, Refusal> {
        let wanted = self.wanted(rules, request)?;
        if request.flag("follow") || request.flag("follow-only") {
            return Ok(Answer::Listen { rules, wanted });
        }
        let rows = self.print(rules, &wanted, viewer);
        if request.flag("count-only") {
            return Ok(Answer::Done(Some(rows.len().to_string().into_bytes())));
        }
        Ok(Answer::Rows(rows))
    }

    fn wanted(&self, rules: &Rules, request: &Request) -> Result<Wanted, Refusal> {
        let list = |text: &str| text.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect();
        let proplist = request.text(".proplist").or(request.text("proplist")).map(list);
        let from = request.text("from").map(|ids| self.find_all(rules, ids)).transpose()?;
        Ok(Wanted { proplist, queries: request.queries.clone(), from })
    }

    fn answer_get(&self, rules: &'static Rules, viewer: &Viewer, request: &Request) -> Result<Answer, Refusal> {
        let mut wanted = Wanted::default();
        if !rules.singleton {
            let ids = request.text("number").or(request.text(".id")).unwrap_or_default();
            wanted.from = Some(self.find_all(rules, ids)?);
        }
        let row = self.print(rules, &wanted, viewer).into_iter().next().ok_or(Refusal::NoSuchItem)?;
        let Some(name) = request.text("value-name") else {
            return Ok(Answer::Done(None));
        };
        let value = row.0.into_iter().find(|(k, _)| k == name).map(|(_, v)| v);
        Ok(Answer::Done(Some(value.unwrap_or_default())))
    }

    fn ping(&self, request: &Request) -> Result<PingSpec, Refusal> {
        let invalid = |name: &str| Refusal::Value(BadValue::Invalid, name.to_owned());
        let number = |name: &'static str, fallback: u32| match request.text(name) {
            Some(text) => text.parse::<u32>().map_err(|_| invalid(name)),
            None => Ok(fallback),
        };
        let address = request.text("address").filter(|a| !a.is_empty());
        let address = address.ok_or_else(|| Refusal::MissingArgument("address".to_owned()))?.to_owned();
        match request.text("interface") {
            Some("") => return Err(Refusal::Value(BadValue::Ambiguous, "interface".to_owned())),
            Some(name) if self.interface(name).is_none() => {
                return Err(Refusal::Value(BadValue::NoMatch, "interface".to_owned()));
            }
            _ => {}
        }
        let interval = match request.text("interval") {
            Some(text) => parse_duration(text).ok_or_else(|| invalid("interval"))?,
            None => PING_INTERVAL,
        };
        let source = match request.text("src-address") {
            Some(text) => Some(text.parse().map_err(|_| invalid("src-address"))?),
            None => None,
        };
        Ok(PingSpec {
            address,
            count: request.get("count").map(|_| number("count", 0)).transpose()?,
            interval,
            size: u16::try_from(number("size", 56)?).map_err(|_| invalid("size"))?,
            ttl: u8::try_from(number("ttl", 64)?).map_err(|_| invalid("ttl"))?,
            source,
        })
    }
}
