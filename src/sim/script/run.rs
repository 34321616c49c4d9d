//! Statements to commands.

use super::parse::{Action, Command, Condition, Piece, Statement, SyntaxError, Value, parse};

/// Names and values of a command or a search.
pub(crate) type Words = Vec<(String, Vec<u8>)>;

/// What a script works on.
pub(crate) trait Host {
    /// The ids of a menu's rows whose fields have these values.
    ///
    /// # Errors
    /// What the device says.
    fn find(&self, menu: &str, matching: &Words) -> Result<Vec<String>, String>;

    /// Executes a command; `rows` are ids or names, where it names any.
    ///
    /// # Errors
    /// What the device says.
    fn command(&mut self, menu: &str, verb: &str, rows: Option<&[String]>, args: Words) -> Result<(), String>;

    /// Takes a line for the log.
    fn say(&mut self, line: String);
}

/// Why a script ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScriptError {
    /// It is none; nothing was executed.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A command was refused, or the script itself says so; what was done before stays.
    #[error("{message} (line {line})")]
    Runtime {
        /// Counted from 1.
        line: usize,
        /// In the device's words.
        message: String,
    },
}

/// What a value comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Text(Vec<u8>),
    Number(usize),
    Rows(Vec<String>),
}

/// Executes a script.
///
/// # Errors
/// [`ScriptError`].
pub(crate) fn run(text: &[u8], host: &mut impl Host) -> Result<(), ScriptError> {
    let statements = parse(text)?;
    Runner { host, variables: Vec::new() }.block(&statements)
}

struct Runner<'a, H> {
    host: &'a mut H,
    variables: Vec<(String, Held)>,
}

impl<H: Host> Runner<'_, H> {
    /// What is local to a block ends with it.
    fn block(&mut self, statements: &[Statement]) -> Result<(), ScriptError> {
        let outside = self.variables.len();
        let result = statements.iter().try_for_each(|statement| self.statement(statement));
        self.variables.truncate(outside);
        result
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), ScriptError> {
        let failed = |message| ScriptError::Runtime { line: statement.line, message };
        match &statement.action {
            Action::Command(command) => self.command(command).map_err(failed),
            Action::Do(body, on_error) => match (self.block(body), on_error) {
                (Err(_), Some(otherwise)) => self.block(otherwise),
                (result, _) => result,
            },
            Action::Local(name, value) => {
                let held = self.value(value).map_err(failed)?;
                self.variables.push((name.clone(), held));
                Ok(())
            }
            Action::If(condition, then, otherwise) => {
                let holds = self.holds(condition).map_err(failed)?;
                self.block(if holds { then } else { otherwise })
            }
            Action::Error(value) => {
                let text = self.value(value).map_err(failed)?.into_bytes();
                Err(failed(String::from_utf8_lossy(&text).into_owned()))
            }
            Action::Say(value) => {
                let text = self.value(value).map_err(failed)?.into_bytes();
                self.host.say(String::from_utf8_lossy(&text).into_owned());
                Ok(())
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), String> {
        let rows = match &command.rows {
            None => None,
            Some(value) => Some(match self.value(value)? {
                Held::Rows(ids) => ids,
                other => vec![String::from_utf8_lossy(&other.into_bytes()).into_owned()],
            }),
        };
        let args = self.words(&command.args)?;
        self.host.command(&command.menu, &command.verb, rows.as_deref(), args)
    }

    fn words(&self, words: &[(String, Value)]) -> Result<Words, String> {
        words.iter().map(|(name, value)| Ok((name.clone(), self.value(value)?.into_bytes()))).collect()
    }

    fn value(&self, value: &Value) -> Result<Held, String> {
        Ok(match value {
            Value::Text(pieces) => Held::Text(pieces.iter().flat_map(|piece| self.piece(piece)).collect()),
            Value::Variable(name) => self.variable(name).unwrap_or(Held::Text(Vec::new())),
            Value::Find(menu, matching) => Held::Rows(self.host.find(menu, &self.words(matching)?)?),
            Value::Len(value) => Held::Number(match self.value(value)? {
                Held::Rows(ids) => ids.len(),
                other => other.into_bytes().len(),
            }),
            Value::Pick(value, at) => {
                let at = self.value(at)?.number();
                match (self.value(value)?, at) {
                    (Held::Rows(ids), Some(at)) => Held::Rows(ids.into_iter().skip(at).take(1).collect()),
                    (other, Some(at)) => Held::Text(other.into_bytes().into_iter().skip(at).take(1).collect()),
                    (_, None) => return Err("invalid internal item number".to_owned()),
                }
            }
        })
    }

    fn piece(&self, piece: &Piece) -> Vec<u8> {
        match piece {
            Piece::Bytes(bytes) => bytes.clone(),
            Piece::Variable(name) => self.variable(name).map(Held::into_bytes).unwrap_or_default(),
        }
    }

    fn variable(&self, name: &str) -> Option<Held> {
        self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, held)| held.clone())
    }

    fn holds(&self, condition: &Condition) -> Result<bool, String> {
        let (left, right) = (self.value(&condition.left)?, self.value(&condition.right)?);
        let order = match (left.number(), right.number()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.into_bytes().cmp(&right.into_bytes()),
        };
        Ok(match condition.sign {
            b'<' => order.is_lt(),
            b'>' => order.is_gt(),
            _ => order.is_eq(),
        })
    }
}

impl Held {
    fn number(&self) -> Option<usize> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Self::Rows(_) => None,
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Rows(ids) => ids.join(";").into_bytes(),
        }
    }
}
