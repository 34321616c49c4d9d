//! The fleet file, read into a [`Fleet`] or refused with the place and the way out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Fleet, FleetRouter, FleetSite, Password};
use crate::config::document::{Field, Keys, Section, Source};
use crate::config::{self, ConfigError};
use crate::routeros::target::{Plaintext, RouterUrl, Scheme};
use crate::routeros::tls::{CertificatePin, Trust};
use crate::uplink::HubUrl;

/// Largest fleet file in bytes: 10,000 routers with long names.
pub const MAX_FLEET_BYTES: u64 = 8 << 20;
/// Most routers of one fleet: what one process on two cores was measured with.
pub const MAX_ROUTERS: usize = 10_000;

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Longest name and tag in characters: they stand in tables.
const MAX_NAME: usize = 64;
/// Most tags of a router.
const MAX_TAGS: usize = 32;
/// Most words of a command.
const MAX_WORDS: usize = 32;

const TOP: Keys = Keys { table: "", keys: &["version", "defaults", "router"] };
const DEFAULTS: Keys = Keys {
    table: "defaults",
    keys: &["hub", "hub_ca", "password_file", "password_env", "credential_command", "ca_file", "allow_plaintext"],
};
const ROUTER: Keys = Keys {
    table: "router",
    keys: &[
        "name",
        "url",
        "pin",
        "ca_file",
        "allow_plaintext",
        "password_file",
        "password_env",
        "credential_command",
        "site",
        "hub",
        "hub_ca",
        "hub_credential",
        "tags",
    ],
};
const TABLES: &[Keys] = &[TOP, DEFAULTS, ROUTER];

/// Reads and checks a fleet file, and every site config it names. Relative paths count from the file's own folder.
///
/// # Errors
/// [`ConfigError`], which names file, line, column, key, what is wrong and the way out.
pub fn load(path: &Path) -> Result<Fleet, ConfigError> {
    let (text, _) = config::read_text(path, MAX_FLEET_BYTES).map_err(ConfigError::File)?;
    parse(&text, path)
}

/// As [`load`], from a text; `file` is for messages, and where relative paths count from.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path) -> Result<Fleet, ConfigError> {
    let source = Source { file, text, tables: TABLES };
    let document = source.parse()?;
    let top = Section::open(source, TOP, document.get_ref(), 0)?;
    top.version(VERSION)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let defaults = top.section(DEFAULTS)?;
    let (mut names, mut sites) = (Unique::new("name"), Unique::new("site"));
    let sections = top.sections(ROUTER, MAX_ROUTERS)?;
    if sections.is_empty() {
        return Err(top.missing("router", "every router is a table of its own: [[router]]"));
    }
    let mut routers = Vec::with_capacity(sections.len());
    for section in &sections {
        let reader = Reader { section, defaults: defaults.as_ref(), folder };
        let router = reader.router()?;
        names.add(&router.name, section)?;
        sites.add(&whose(&router.site), section)?;
        routers.push(router);
    }
    Ok(Fleet { routers })
}

/// What two routers must not share: they would fight for one tunnel.
fn whose(site: &FleetSite) -> String {
    match site {
        FleetSite::File(site) => site.id.to_string(),
        FleetSite::Hub { credential, .. } => credential.display().to_string(),
    }
}

/// Values that stand once in a file.
struct Unique {
    key: &'static str,
    seen: HashMap<String, config::Place>,
}

impl Unique {
    fn new(key: &'static str) -> Self {
        Self { key, seen: HashMap::new() }
    }

    fn add(&mut self, value: &str, section: &Section<'_>) -> Result<(), ConfigError> {
        let place = section.place();
        match self.seen.insert(value.to_owned(), place.clone()) {
            None => Ok(()),
            Some(first) => Err(ConfigError::Value {
                place,
                key: format!("router.{}", self.key),
                problem: format!("{value:?} is also that of the router on line {}", first.line),
                hint: Some("each router has a name and a site of its own".to_owned()),
            }),
        }
    }
}

/// One `[[router]]`, with what it leaves to `[defaults]`.
struct Reader<'s, 'a> {
    section: &'s Section<'a>,
    defaults: Option<&'s Section<'a>>,
    folder: &'s Path,
}

impl<'a> Reader<'_, 'a> {
    fn router(&self) -> Result<FleetRouter, ConfigError> {
        let name =
            self.own("name")?.ok_or_else(|| self.section.missing("name", "what people call it, such as \"oslo-1\""))?;
        let url =
            self.own("url")?.ok_or_else(|| self.section.missing("url", "such as \"apis://sitepeer@10.1.1.1\""))?;
        let url: Field<'a, RouterUrl> = url.with(url.value.parse().map_err(|error| url.wrong(error, None))?);
        Ok(FleetRouter {
            name: word(&name)?,
            trust: self.trust(&url)?,
            plaintext: self.plaintext()?,
            password: self.password()?,
            site: self.site()?,
            tags: self.tags()?,
            url: url.value,
        })
    }

    fn own(&self, key: &str) -> Result<Option<Field<'a, &'a str>>, ConfigError> {
        self.section.string(key)
    }

    /// The router's own value, or the one for all.
    fn text(&self, key: &str) -> Result<Option<Field<'a, &'a str>>, ConfigError> {
        match (self.section.string(key)?, self.defaults) {
            (None, Some(defaults)) => defaults.string(key),
            (own, _) => Ok(own),
        }
    }

    fn path(&self, field: &Field<'_, &str>) -> PathBuf {
        self.folder.join(field.value)
    }

    fn trust(&self, url: &Field<'_, RouterUrl>) -> Result<Trust, ConfigError> {
        if let Some(pin) = self.own("pin")? {
            if url.value.scheme == Scheme::Api {
                return Err(pin.wrong(
                    "api:// has no certificate to check",
                    Some("use apis://, or leave the pin out".to_owned()),
                ));
            }
            let hint = || Some("a pin is sha256: and 64 hex digits".to_owned());
            return pin.value.parse::<CertificatePin>().map(Trust::Pin).map_err(|error| pin.wrong(error, hint()));
        }
        match self.text("ca_file")? {
            Some(file) if url.value.scheme == Scheme::Apis => Ok(Trust::CaFile(self.path(&file))),
            None if url.value.scheme == Scheme::Apis => {
                let hint = "write the certificate's fingerprint, or ca_file; `sitepeer status` shows the fingerprint";
                Err(self.section.missing("pin", hint))
            }
            _ => Ok(Trust::None),
        }
    }

    fn plaintext(&self) -> Result<Plaintext, ConfigError> {
        let own = self.section.boolean("allow_plaintext")?;
        let field = match (own, self.defaults) {
            (None, Some(defaults)) => defaults.boolean("allow_plaintext")?,
            (own, _) => own,
        };
        Ok(if field.is_some_and(|field| field.value) { Plaintext::Allow } else { Plaintext::Refuse })
    }

    /// The router's own way to a password, or the one for all.
    fn password(&self) -> Result<Password, ConfigError> {
        password(self.section, self.defaults, self.folder)
    }

    fn site(&self) -> Result<FleetSite, ConfigError> {
        match (self.own("site")?, self.own("hub_credential")?) {
            (Some(site), None) => Ok(FleetSite::File(Box::new(config::load(&self.path(&site))?))),
            (None, Some(credential)) => {
                let url = self
                    .text("hub")?
                    .ok_or_else(|| self.section.missing("hub", "such as \"https://hub.example.net\""))?;
                let hub: HubUrl = url.value.parse().map_err(|error| url.wrong(error, None))?;
                let ca_file = self.text("hub_ca")?.map(|file| self.path(&file));
                Ok(FleetSite::Hub { url: hub, ca_file, credential: self.path(&credential) })
            }
            (Some(site), Some(_)) => Err(site.wrong("say it one way: site or hub_credential", None)),
            (None, None) => Err(self
                .section
                .missing("site", "a site config's file, or hub_credential for a site enrolled at a hub")),
        }
    }

    fn tags(&self) -> Result<Vec<String>, ConfigError> {
        let fields = self.section.strings("tags", MAX_TAGS)?.unwrap_or_default();
        fields.iter().map(word).collect()
    }
}

/// A table's own way to a password, or the one for all.
pub(super) fn password(
    section: &Section<'_>,
    defaults: Option<&Section<'_>>,
    folder: &Path,
) -> Result<Password, ConfigError> {
    for section in [Some(section), defaults].into_iter().flatten() {
        let file = section.string("password_file")?;
        let variable = section.string("password_env")?;
        let words = section.strings("credential_command", MAX_WORDS)?;
        match (file, variable, words) {
            (None, None, None) => {}
            (Some(file), None, None) => return Ok(Password::File(folder.join(file.value))),
            (None, Some(variable), None) => return Ok(Password::Environment(variable.value.to_owned())),
            (None, None, Some(words)) if !words.is_empty() => {
                return Ok(Password::Command(words.iter().map(|word| word.value.to_owned()).collect()));
            }
            (None, None, Some(_)) => {
                return Err(section.missing(
                    "credential_command",
                    "the program and its arguments, such as [\"pass\", \"show\", \"x\"]",
                ));
            }
            (file, variable, _) => {
                let wrong = "say it one way: password_file, password_env or credential_command";
                let field = file.or(variable);
                return Err(
                    field.map_or_else(|| section.missing("password_file", wrong), |field| field.wrong(wrong, None))
                );
            }
        }
    }
    let hint = "password_file, password_env or credential_command, here or in [defaults]; a password itself does not stand here";
    Err(section.missing("password_file", hint))
}

/// A name or tag: short, visible, and no list.
pub(super) fn word(field: &Field<'_, &str>) -> Result<String, ConfigError> {
    let text = field.value;
    let fits = (1..=MAX_NAME).contains(&text.chars().count());
    let shows = crate::domain::clean(text) == text && text.trim() == text && !text.contains(',');
    if fits && shows {
        return Ok(text.to_owned());
    }
    Err(field.wrong(format_args!("must be 1 to {MAX_NAME} visible characters without a comma"), None))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "version = 1\n[[router]]\nname = \"oslo-1\"\nurl = \"apis://sitepeer@10.1.1.1\"\npin = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\npassword_file = \"pw\"\nhub = \"https://hub.example.net\"\nhub_credential = \"oslo-1.credential\"\ntags = [\"retail\"]\n";

    fn read(text: &str) -> Result<Fleet, String> {
        parse(text, Path::new("etc/fleet.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_router_is_read_and_paths_count_from_the_file() {
        let fleet = read(ONE).unwrap();
        let router = &fleet.routers[0];
        assert_eq!((router.name.as_str(), router.tags[0].as_str()), ("oslo-1", "retail"));
        assert_eq!(router.password, Password::File("etc/pw".into()));
        assert!(
            matches!(&router.site, FleetSite::Hub { credential, .. } if credential == Path::new("etc/oslo-1.credential"))
        );
    }

    #[test]
    fn what_is_said_for_all_holds_where_a_router_says_nothing() {
        let text = ONE.replacen(
            "version = 1\n",
            "version = 1\n[defaults]\ncredential_command = [\"pass\", \"x\"]\nhub = \"https://other.example\"\n",
            1,
        );
        let router = |text: &str| read(text).unwrap().routers.remove(0);
        assert_eq!(router(&text).password, Password::File("etc/pw".into()));
        let text = text.replacen("password_file = \"pw\"\n", "", 1);
        assert_eq!(router(&text).password, Password::Command(vec!["pass".to_owned(), "x".to_owned()]));
    }

    #[test]
    fn every_mistake_names_its_line_and_key() {
        for (from, to, wanted) in [
            ("version = 1", "version = 2", "fleet.toml:1:"),
            ("name = \"oslo-1\"\n", "", "`router.name` is missing"),
            ("name = \"oslo-1\"", "name = \"a\\u0007\"", "fleet.toml:3:"),
            ("apis://sitepeer@10.1.1.1", "apis://sitepeer:pw@10.1.1.1", "fleet.toml:4:"),
            ("apis://", "api://", "api:// has no certificate"),
            ("password_file = \"pw\"\n", "", "`router.password_file` is missing"),
            ("password_file", "password", "unknown key `router.password`"),
            ("password_file = \"pw\"\n", "password_file = \"pw\"\npassword_env = \"X\"\n", "say it one way"),
            ("hub_credential = \"oslo-1.credential\"\n", "", "`router.site` is missing"),
            ("tags = [\"retail\"]", "tags = [\"a,b\"]", "router.tags[0]"),
            ("[[router]]", "[router]", "must be a list of tables"),
        ] {
            let text = ONE.replacen(from, to, 1);
            let error = read(&text).unwrap_err();
            assert!(error.contains(wanted), "{from} → {to}: {error}");
        }
    }

    #[test]
    fn two_routers_of_one_name_or_one_site_are_refused() {
        let second = ONE.replacen("version = 1\n", "", 1);
        assert!(read(&format!("{ONE}{second}")).unwrap_err().contains("router.name"));
        let renamed = second.replacen("oslo-1\"\nurl", "oslo-2\"\nurl", 1);
        assert!(read(&format!("{ONE}{renamed}")).unwrap_err().contains("router.site"));
        let own = renamed.replacen("oslo-1.credential", "oslo-2.credential", 1);
        assert_eq!(read(&format!("{ONE}{own}")).unwrap().routers.len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_is_too_wild_to_be_refused(text in ".{0,400}", cut in 0usize..400) {
            let _refused = read(&text);
            let mut wild = ONE.to_owned();
            let at = (0..=cut.min(wild.len())).rev().find(|at| wild.is_char_boundary(*at)).unwrap_or(0);
            wild.insert_str(at, &text);
            let _read = read(&wild);
        }
    }
}
