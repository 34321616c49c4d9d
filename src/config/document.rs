//! A TOML document whose keys and values know where they stand.
//!
//! [`Section`] is one table of it: it refuses keys that it does not know as soon as it is opened, and hands
//! out values with their place, so that whoever turns a value into a word can say where a wrong one is.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::nearest::nearest;

/// The valid keys of one table, and where a key that is not among them may belong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// The table's name, empty for the top of the file.
    pub(crate) table: &'static str,
    /// What it may hold.
    pub(crate) keys: &'static [&'static str],
}

impl Keys {
    fn full(&self, key: &str) -> String {
        if self.table.is_empty() { key.to_owned() } else { format!("{}.{key}", self.table) }
    }
}

/// The text of a file, to find lines and columns in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
    /// Every table there is.
    pub(crate) tables: &'static [Keys],
}

impl<'a> Source<'a> {
    /// Parses the text.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().trim().replace('\n', ", ");
            if message == "duplicate key" {
                message = format!("{message} `{}`", self.text.get(span.clone()).unwrap_or(""));
            }
            ConfigError::Syntax { place: self.place(span.start), message }
        })
    }

    /// Line and column of a byte offset.
    pub(crate) fn place(&self, offset: usize) -> Place {
        Place::at(self.file, self.text, offset)
    }

    fn unknown(&self, inside: &Keys, key: &str, at: usize) -> ConfigError {
        let hint = if let Some(meant) = nearest(key, inside.keys.iter().copied()) {
            format!("did you mean `{meant}`?")
        } else if let Some(home) = self.tables.iter().find(|table| table.keys.contains(&key)) {
            format!("it belongs to the table [{}]", if home.table.is_empty() { "top of the file" } else { home.table })
        } else {
            format!("valid keys here: {}", inside.keys.join(", "))
        };
        ConfigError::UnknownKey { place: self.place(at), key: inside.full(key), hint }
    }
}

/// A value with its key and place.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a, T> {
    pub(crate) value: T,
    pub(crate) key: String,
    span: Range<usize>,
    source: Source<'a>,
}

impl<'a, T> Field<'a, T> {
    pub(crate) fn place(&self) -> Place {
        self.source.place(self.span.start)
    }

    /// The error that this value is wrong.
    pub(crate) fn wrong(&self, problem: impl ToString, hint: Option<String>) -> ConfigError {
        ConfigError::Value { place: self.place(), key: self.key.clone(), problem: problem.to_string(), hint }
    }

    /// The same place with another value.
    pub(crate) fn with<U>(&self, value: U) -> Field<'a, U> {
        Field { value, key: self.key.clone(), span: self.span.clone(), source: self.source }
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    source: Source<'a>,
    keys: Keys,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Section<'a> {
    /// Opens a table and refuses what it does not know.
    pub(crate) fn open(source: Source<'a>, keys: Keys, table: &'a DeTable<'a>, at: usize) -> Result<Self, ConfigError> {
        let unknown = table.keys().filter(|key| !keys.keys.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            Some(key) => Err(source.unknown(&keys, key.get_ref(), key.span().start)),
            None => Ok(Self { source, keys, entries: table, span: at..at }),
        }
    }

    /// Opens a table inside this one.
    pub(crate) fn section(&self, keys: Keys) -> Result<Option<Self>, ConfigError> {
        let Some(found) = self.get(keys.table) else { return Ok(None) };
        let DeValue::Table(table) = found.value else { return Err(type_error(&found, "a table")) };
        Self::open(self.source, keys, table, found.span.start).map(Some)
    }

    /// The error that a key must be there.
    pub(crate) fn missing(&self, key: &str, hint: &str) -> ConfigError {
        ConfigError::Missing { place: self.source.place(self.span.start), key: self.keys.full(key), hint: hint.into() }
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<Field<'a, &'a str>>, ConfigError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        Self::text_of(found).map(Some)
    }

    /// An integer within `range`, limits included.
    pub(crate) fn integer<T>(&self, key: &str, low: T, high: T) -> Result<Option<Field<'a, T>>, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(found) = self.get(key) else { return Ok(None) };
        let DeValue::Integer(integer) = found.value else { return Err(type_error(&found, "a number")) };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|n| T::try_from(n).ok());
        match number {
            Some(number) if (&low..=&high).contains(&&number) => Ok(Some(found.with(number))),
            _ => Err(found.wrong(format_args!("must be from {low} to {high}"), None)),
        }
    }

    /// Refuses a file of another version than the only one that is read.
    pub(crate) fn version(&self, read: u16) -> Result<(), ConfigError> {
        match self.integer("version", 0, u16::MAX)? {
            Some(field) if field.value == read => Ok(()),
            Some(field) => {
                let hint = "a newer sitepeer may read it".to_owned();
                Err(field.wrong(format_args!("this sitepeer reads version {read} only"), Some(hint)))
            }
            None => Err(self.missing("version", &format!("write `version = {read}` on the first line"))),
        }
    }

    /// A list of at most `most` strings; each element has its own place.
    pub(crate) fn strings(&self, key: &str, most: usize) -> Result<Option<Vec<Field<'a, &'a str>>>, ConfigError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let DeValue::Array(array) = found.value else {
            return Err(found.wrong("must be a list of strings", Some(format!("{key} = [\"…\"]"))));
        };
        if array.len() > most {
            return Err(found.wrong(format_args!("has {} entries, at most {most} are possible", array.len()), None));
        }
        let element = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let key = format!("{}[{index}]", found.key);
            Self::text_of(Field { value: item.get_ref(), key, span: item.span(), source: self.source })
        };
        array.iter().enumerate().map(element).collect::<Result<_, _>>().map(Some)
    }

    fn get(&self, key: &str) -> Option<Field<'a, &'a DeValue<'a>>> {
        let value = self.entries.get(key)?;
        Some(Field { value: value.get_ref(), key: self.keys.full(key), span: value.span(), source: self.source })
    }

    fn text_of(found: Field<'a, &'a DeValue<'a>>) -> Result<Field<'a, &'a str>, ConfigError> {
        match found.value {
            DeValue::String(text) => Ok(found.with(text.as_ref())),
            _ => Err(type_error(&found, "a string in quotes")),
        }
    }
}

/// What only the fleet file has.
#[cfg(feature = "proxy")]
impl<'a> Section<'a> {
    /// Opens every table of a list of tables (`[[…]]`), of at most `most`.
    pub(crate) fn sections(&self, keys: Keys, most: usize) -> Result<Vec<Self>, ConfigError> {
        let Some(found) = self.get(keys.table) else { return Ok(Vec::new()) };
        let DeValue::Array(array) = found.value else {
            return Err(found.wrong("must be a list of tables", Some(format!("[[{}]]", keys.table))));
        };
        if array.len() > most {
            return Err(found.wrong(format_args!("has {} tables, at most {most} are possible", array.len()), None));
        }
        let each = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => Self::open(self.source, keys, table, item.span().start),
            _ => Err(type_error(&found.with(item.get_ref()), "a table")),
        };
        array.iter().map(each).collect()
    }

    /// Returns `true` or `false`.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<Field<'a, bool>>, ConfigError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        match found.value {
            DeValue::Boolean(value) => Ok(Some(found.with(*value))),
            _ => Err(type_error(&found, "true or false")),
        }
    }

    /// Where it begins.
    pub(crate) fn place(&self) -> Place {
        self.source.place(self.span.start)
    }
}

fn type_error(found: &Field<'_, &DeValue<'_>>, wanted: &str) -> ConfigError {
    found.wrong(format_args!("must be {wanted}, not {}", found.value.type_str()), None)
}
