//! A plan as a RouterOS script (`.rsc`), to read, to `/import` or to paste.
//!
//! Every command is wrapped so that one that fails stops the script and names its step: `/import` itself
//! stops at an error, but says only a line number, and a pasted script would run on.
//!
//! *Source*: `/import` stopping at the first runtime error with the earlier lines applied, as observed by
//! `MikroDash` on 7.24.4.

use std::fmt;

use askama::Template;

use crate::domain::Secret;

/// What a script says: an input of its own, so that this layer knows nothing of plans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// Comment lines at the top, without `#`. Characters that could end a comment are replaced.
    pub header: Vec<String>,
    /// The commands, in order.
    pub commands: Vec<ScriptCommand>,
    /// What the script prints after its last command.
    pub done: String,
}

/// One command of a script: `/ip/address/add address="10.99.0.2/24" …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptCommand {
    /// Why the command is there, in a few words; stands above it and in its error.
    pub title: String,
    /// The menu, such as `/interface/wireguard`.
    pub path: String,
    /// `add`, `set`, `remove`, `enable`, …
    pub verb: String,
    /// Arguments in order.
    pub args: Vec<(String, Value)>,
    /// The row a new row must stand before, if the router has such a row.
    pub place_before: Option<PlaceBefore>,
}

/// The first row of a menu that matches: where a firewall rule must stand before.
///
/// On a router without such a row the rule goes to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceBefore {
    /// Fields and their values, all of which must match.
    pub matching: Vec<(String, String)>,
}

/// The value of an argument.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Anything that may be shown.
    Text(String),
    /// A key or password: in the script as it is, nowhere else.
    Secret(Secret),
}

impl Value {
    /// The value as it stands in the script.
    pub(super) fn reveal(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Secret(_) => f.write_str("***"),
        }
    }
}

/// Why a script cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A menu path, verb or argument name with characters that RouterOS never uses in one.
    #[error("{word:?} is no {kind} of RouterOS")]
    Word {
        /// Menu, verb or argument name.
        kind: &'static str,
        /// The word.
        word: String,
    },
    /// The template failed: never for the templates we ship.
    #[error("the template failed")]
    Template(#[from] askama::Error),
}

#[derive(Template)]
#[template(path = "rsc/plan.rsc", config = "templates/askama.toml")]
struct PlanTemplate<'a> {
    header: Vec<String>,
    steps: Vec<Step<'a>>,
    done: &'a str,
}

/// A command with all that the template writes of it.
struct Step<'a> {
    number: usize,
    title: String,
    menu: &'a str,
    verb: &'a str,
    args: &'a [(String, Value)],
    place_before: Option<Place<'a>>,
    failure: String,
}

struct Place<'a> {
    menu: &'a str,
    matching: Vec<Match<'a>>,
}

struct Match<'a> {
    key: &'a str,
    value: &'a str,
    /// `find` compares a boolean field with `yes` and never with `"yes"`.
    boolean: bool,
}

/// Returns the script as text.
///
/// # Errors
/// [`RenderError::Word`] if a path, verb or argument name has a character that is not of RouterOS' own
/// names: those stand outside quotes, so they are checked and not escaped.
pub fn script(script: &Script) -> Result<String, RenderError> {
    let total = script.commands.len();
    let steps = script
        .commands
        .iter()
        .enumerate()
        .map(|(index, command)| step(index + 1, total, command))
        .collect::<Result<Vec<_>, _>>()?;
    let template =
        PlanTemplate { header: script.header.iter().map(|line| comment(line)).collect(), steps, done: &script.done };
    Ok(template.render()?)
}

fn step(number: usize, total: usize, command: &ScriptCommand) -> Result<Step<'_>, RenderError> {
    menu_word(&command.path)?;
    plain_word("verb", &command.verb)?;
    for (key, _) in &command.args {
        plain_word("argument", key)?;
    }
    let place_before = match &command.place_before {
        None => None,
        Some(place) => {
            let matching = place
                .matching
                .iter()
                .map(|(key, value)| {
                    plain_word("argument", key)?;
                    Ok(Match { key, value, boolean: matches!(value.as_str(), "yes" | "no") })
                })
                .collect::<Result<_, RenderError>>()?;
            Some(Place { menu: &command.path, matching })
        }
    };
    Ok(Step {
        number,
        title: comment(&command.title),
        menu: &command.path,
        verb: &command.verb,
        args: &command.args,
        place_before,
        failure: format!("sitepeer: step {number} of {total} failed: {}", command.title),
    })
}

/// A menu path: `/`, then words with single slashes between.
fn menu_word(path: &str) -> Result<(), RenderError> {
    let words = path.strip_prefix('/').unwrap_or("");
    if words.split('/').all(is_plain) { Ok(()) } else { Err(no_word("menu", path)) }
}

fn plain_word(kind: &'static str, word: &str) -> Result<(), RenderError> {
    if is_plain(word) { Ok(()) } else { Err(no_word(kind, word)) }
}

fn no_word(kind: &'static str, word: &str) -> RenderError {
    RenderError::Word { kind, word: word.to_owned() }
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// What may stand behind `#`: printable ASCII without `\`, which joins lines.
fn comment(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) && c != '\\' { c } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(key: &str) -> Script {
        Script {
            commands: vec![ScriptCommand {
                title: "t".into(),
                path: "/ip/address".into(),
                verb: "add".into(),
                args: vec![(key.into(), Value::from("v"))],
                place_before: None,
            }],
            ..Script::default()
        }
    }

    #[test]
    fn an_argument_name_that_is_none_of_routeros_is_refused() {
        assert!(script(&add("address")).is_ok());
        for bad in ["", "a b", "a=", "a\"", "A", "a;b", "a\nb", "$a"] {
            assert!(matches!(script(&add(bad)), Err(RenderError::Word { kind: "argument", word }) if word == bad));
        }
    }

    #[test]
    fn a_secret_never_shows_in_debug() {
        let value = Value::Secret(Secret::new("hunter2".to_owned()));
        assert_eq!(format!("{value:?}"), "***");
    }
}
