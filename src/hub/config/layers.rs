//! Settings from their layers: a flag counts before the environment, that before the file, that before the default.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{HubConfigError, Origin};
use super::options::{HubOption, OPTIONS, ValueKind};
use crate::config::{Place, nearest};

/// A value as text, and where it comes from.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// What each option is set to.
pub(super) struct Layers(HashMap<&'static str, Setting>);

impl Layers {
    /// The defaults.
    pub(super) fn defaults() -> Self {
        let set = OPTIONS.iter().filter(|option| !option.default.is_empty());
        Self(set.map(|option| (option.key, setting(option, option.default.to_owned(), Origin::Default))).collect())
    }

    /// Lays a file over what is set.
    pub(super) fn file(&mut self, text: &str, file: &Path) -> Result<(), HubConfigError> {
        let place = |offset: usize| Place::at(file, text, offset);
        let document = DeTable::parse(text).map_err(|error| HubConfigError::Syntax {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().trim().replace('\n', ", "),
        })?;
        let mut entries: Vec<_> = document.get_ref().iter().collect();
        // The first wrong one in the file is the one that is told.
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let at = Origin::File(place(key.span().start));
            let option = find(key.get_ref(), &at)?;
            let origin = Origin::File(place(value.span().start));
            let text = written(option, value).map_err(|problem| wrong_type(option, origin.clone(), problem))?;
            self.0.insert(option.key, setting(option, text, origin));
        }
        Ok(())
    }

    /// Lays the environment over what is set; variables of other programs are none of its business.
    pub(super) fn environment(&mut self, environment: impl Fn(&str) -> Option<String>) {
        for option in OPTIONS {
            let name = option.variable();
            if let Some(text) = environment(&name) {
                self.0.insert(option.key, setting(option, text, Origin::Variable(name)));
            }
        }
    }

    /// Lays flags over what is set, named by their keys.
    pub(super) fn flags(&mut self, flags: &[(String, String)]) -> Result<(), HubConfigError> {
        for (key, text) in flags {
            let key = key.replace('-', "_");
            let option = find(&key, &Origin::Flag(key.replace('_', "-")))?;
            self.0.insert(option.key, setting(option, text.clone(), Origin::Flag(option.flag())));
        }
        Ok(())
    }

    /// What an option is set to; an empty text is as good as nothing.
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key).filter(|setting| !setting.text.is_empty())
    }
}

impl Setting {
    /// The error that this value is wrong.
    pub(super) fn wrong(&self, problem: impl ToString, hint: Option<&str>) -> HubConfigError {
        HubConfigError::Value {
            origin: self.origin.clone(),
            key: self.key,
            problem: problem.to_string(),
            hint: hint.map(str::to_owned),
        }
    }
}

fn setting(option: &HubOption, text: String, origin: Origin) -> Setting {
    Setting { key: option.key, text, origin }
}

fn find(key: &str, origin: &Origin) -> Result<&'static HubOption, HubConfigError> {
    OPTIONS.iter().find(|option| option.key == key).ok_or_else(|| {
        let keys = OPTIONS.iter().map(|option| option.key);
        let hint = match nearest(key, keys.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("valid keys: {}", keys.collect::<Vec<_>>().join(", ")),
        };
        HubConfigError::Unknown { origin: origin.clone(), key: key.to_owned(), hint }
    })
}

fn wrong_type(option: &HubOption, origin: Origin, problem: String) -> HubConfigError {
    HubConfigError::Value { origin, key: option.key, problem, hint: None }
}

/// A value of the file as the text that a flag would have.
fn written(option: &HubOption, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let wanted = match (option.kind, value.get_ref()) {
        (ValueKind::Text, DeValue::String(text)) => return Ok(text.to_string()),
        (ValueKind::Number, DeValue::Integer(number)) if number.radix() == 10 => return Ok(number.as_str().to_owned()),
        (ValueKind::Switch, DeValue::Boolean(on)) => return Ok(on.to_string()),
        (ValueKind::List, DeValue::Array(items)) => {
            let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) if !text.contains(',') => Ok(text.to_string()),
                _ => Err("must be a list of strings".to_owned()),
            };
            return items.iter().map(text).collect::<Result<Vec<_>, _>>().map(|items| items.join(","));
        }
        (ValueKind::Text, _) => "a string in quotes",
        (ValueKind::Number, _) => "a number",
        (ValueKind::Switch, _) => "true or false",
        (ValueKind::List, _) => "a list of strings",
    };
    Err(format!("must be {wanted}, not {}", value.get_ref().type_str()))
}
