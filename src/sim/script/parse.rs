//! Text to statements.
//!
//! Needs nothing of the rest of the simulator, so that the fuzz target can take the file as it is.

/// Blocks within blocks; a device has a limit too, and recursion here must end.
const MAX_DEPTH: usize = 32;

/// A text is no script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error (line {line} column {column})")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}

/// A statement and the line it begins in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Counted from 1.
    pub line: usize,
    /// What it does.
    pub action: Action,
}

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `/ip/route/set [find …] distance="2"`
    Command(Command),
    /// `:do { … } on-error={ … }`
    Do(Vec<Statement>, Option<Vec<Statement>>),
    /// `:local name value`
    Local(String, Value),
    /// `:if (left < right) do={ … } else={ … }`
    If(Condition, Vec<Statement>, Vec<Statement>),
    /// `:error "…"`
    Error(Value),
    /// `:put "…"` or `:log warning "…"`
    Say(Value),
}

/// A command of a menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// `/ip/route`
    pub menu: String,
    /// `set`
    pub verb: String,
    /// The rows it is about, where it names any.
    pub rows: Option<Value>,
    /// `distance="2"`
    pub args: Vec<(String, Value)>,
}

/// Something that comes to a text, a number or rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In quotes, or a bare word.
    Text(Vec<Piece>),
    /// `$name`
    Variable(String),
    /// `[/menu/find where field=value …]`
    Find(String, Vec<(String, Value)>),
    /// `[:len …]`
    Len(Box<Value>),
    /// `[:pick … n]`
    Pick(Box<Value>, Box<Value>),
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Bytes(Vec<u8>),
    /// What a variable holds; nothing if there is none of that name.
    Variable(String),
}

/// Two values and how they must compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Before the sign.
    pub left: Value,
    /// `=`, `<` or `>`.
    pub sign: u8,
    /// Behind it.
    pub right: Value,
}

/// Reads a whole script.
///
/// # Errors
/// [`SyntaxError`] where it is not understood; then nothing of it may be executed.
pub fn parse(text: &[u8]) -> Result<Vec<Statement>, SyntaxError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let statements = reader.statements()?;
    if reader.at < text.len() { Err(reader.fault()) } else { Ok(statements) }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn fault(&self) -> SyntaxError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.split(|b| *b == b'\n').count();
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        SyntaxError { line, column }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(wanted.as_bytes()));
        if is_there {
            self.at += wanted.len();
        }
        is_there
    }

    fn expect(&mut self, wanted: &str) -> Result<(), SyntaxError> {
        if self.take(wanted) { Ok(()) } else { Err(self.fault()) }
    }

    /// Takes bytes as long as they fit, at least one.
    fn span(&mut self, fits: impl Fn(u8) -> bool) -> Result<String, SyntaxError> {
        let from = self.at;
        while self.peek().is_some_and(&fits) {
            self.at += 1;
        }
        match self.text.get(from..self.at) {
            Some(word) if !word.is_empty() => Ok(String::from_utf8_lossy(word).into_owned()),
            _ => Err(self.fault()),
        }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips what may stand between statements.
    fn gap(&mut self) {
        loop {
            self.blanks();
            match self.peek() {
                Some(b'\n' | b';') => self.at += 1,
                Some(b'#') => {
                    while self.peek().is_some_and(|b| b != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn statements(&mut self) -> Result<Vec<Statement>, SyntaxError> {
        let mut all = Vec::new();
        loop {
            self.gap();
            if matches!(self.peek(), None | Some(b'}')) {
                return Ok(all);
            }
            let line = self.fault().line;
            let action = self.action()?;
            all.push(Statement { line, action });
            self.blanks();
            if !matches!(self.peek(), None | Some(b'}' | b'\n' | b';')) {
                return Err(self.fault());
            }
        }
    }

    /// `{ … }`
    fn block(&mut self) -> Result<Vec<Statement>, SyntaxError> {
        self.expect("{")?;
        self.deeper()?;
        let inside = self.statements()?;
        self.depth -= 1;
        self.expect("}")?;
        Ok(inside)
    }

    fn deeper(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.fault()) } else { Ok(()) }
    }

    fn action(&mut self) -> Result<Action, SyntaxError> {
        if self.peek() == Some(b'/') {
            return self.command().map(Action::Command);
        }
        self.expect(":")?;
        let word = self.span(|b| b.is_ascii_lowercase())?;
        self.blanks();
        match word.as_str() {
            "do" => {
                let body = self.block()?;
                Ok(Action::Do(body, self.branch("on-error=")?))
            }
            "local" => {
                let name = self.name()?;
                self.blanks();
                Ok(Action::Local(name, self.value()?))
            }
            "if" => {
                let condition = self.condition()?;
                let then = self.branch("do=")?.ok_or_else(|| self.fault())?;
                Ok(Action::If(condition, then, self.branch("else=")?.unwrap_or_default()))
            }
            "error" => Ok(Action::Error(self.value()?)),
            "put" => Ok(Action::Say(self.value()?)),
            "log" => {
                self.span(|b| b.is_ascii_lowercase())?;
                self.blanks();
                Ok(Action::Say(self.value()?))
            }
            _ => Err(self.fault()),
        }
    }

    /// `do={ … }` and its like, if it stands there.
    fn branch(&mut self, word: &str) -> Result<Option<Vec<Statement>>, SyntaxError> {
        let before = self.at;
        self.blanks();
        if self.take(word) {
            return self.block().map(Some);
        }
        self.at = before;
        Ok(None)
    }

    fn name(&mut self) -> Result<String, SyntaxError> {
        self.span(|b| b.is_ascii_alphanumeric())
    }

    /// `/ip/route/set` as menu and verb.
    fn path(&mut self) -> Result<(String, String), SyntaxError> {
        let path = self.span(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'/')?;
        match path.rsplit_once('/') {
            Some((menu, verb)) if menu.len() > 1 && !verb.is_empty() && !menu.contains("//") => {
                Ok((menu.to_owned(), verb.to_owned()))
            }
            _ => Err(self.fault()),
        }
    }

    fn command(&mut self) -> Result<Command, SyntaxError> {
        let (menu, verb) = self.path()?;
        let mut command = Command { menu, verb, rows: None, args: Vec::new() };
        loop {
            let before = self.at;
            self.blanks();
            if matches!(self.peek(), None | Some(b'\n' | b';' | b'}')) {
                return Ok(command);
            }
            if self.at == before {
                return Err(self.fault());
            }
            if let Some(argument) = self.argument()? {
                command.args.push(argument);
            } else if command.rows.is_none() && command.args.is_empty() {
                command.rows = Some(self.value()?);
            } else {
                return Err(self.fault());
            }
        }
    }

    /// `name=value`, if it stands there.
    fn argument(&mut self) -> Result<Option<(String, Value)>, SyntaxError> {
        let before = self.at;
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'!');
        if let Ok(name) = self.span(is_name)
            && self.take("=")
        {
            return Ok(Some((name, self.value()?)));
        }
        self.at = before;
        Ok(None)
    }

    fn condition(&mut self) -> Result<Condition, SyntaxError> {
        self.expect("(")?;
        let left = self.value()?;
        self.blanks();
        let sign = self.peek().filter(|b| b"=<>".contains(b)).ok_or_else(|| self.fault())?;
        self.at += 1;
        self.blanks();
        let right = self.value()?;
        self.expect(")")?;
        Ok(Condition { left, sign, right })
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.text().map(Value::Text),
            Some(b'$') => {
                self.at += 1;
                self.name().map(Value::Variable)
            }
            Some(b'[') => {
                self.at += 1;
                self.deeper()?;
                let value = self.call()?;
                self.depth -= 1;
                self.blanks();
                self.expect("]")?;
                Ok(value)
            }
            _ => {
                let is_bare = |b: u8| b.is_ascii_alphanumeric() || b"-*./:,_@%+".contains(&b);
                Ok(Value::Text(vec![Piece::Bytes(self.span(is_bare)?.into_bytes())]))
            }
        }
    }

    /// The inside of `[…]`.
    fn call(&mut self) -> Result<Value, SyntaxError> {
        if self.take(":len ") {
            return Ok(Value::Len(Box::new(self.value()?)));
        }
        if self.take(":pick ") {
            let from = self.value()?;
            self.expect(" ")?;
            return Ok(Value::Pick(Box::new(from), Box::new(self.value()?)));
        }
        let (menu, verb) = self.path()?;
        if verb != "find" {
            return Err(self.fault());
        }
        self.blanks();
        let mut matching = Vec::new();
        if self.take("where") {
            loop {
                self.blanks();
                match self.argument()? {
                    Some(argument) => matching.push(argument),
                    None if matching.is_empty() => return Err(self.fault()),
                    None => break,
                }
            }
        }
        Ok(Value::Find(menu, matching))
    }

    /// A string in quotes. An escape that is none is an error; an unescaped `$` puts a variable in.
    fn text(&mut self) -> Result<Vec<Piece>, SyntaxError> {
        self.expect("\"")?;
        let (mut pieces, mut bytes) = (Vec::new(), Vec::new());
        loop {
            let byte = self.peek().ok_or_else(|| self.fault())?;
            self.at += 1;
            match byte {
                b'"' => {
                    if !bytes.is_empty() || pieces.is_empty() {
                        pieces.push(Piece::Bytes(bytes));
                    }
                    return Ok(pieces);
                }
                b'\\' => bytes.push(self.escape()?),
                b'$' => {
                    pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                    pieces.push(Piece::Variable(self.name()?));
                }
                _ => bytes.push(byte),
            }
        }
    }

    /// What stands behind `\`. *Source*: manual, Scripting, constant escape sequences.
    fn escape(&mut self) -> Result<u8, SyntaxError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
        let (first, second) = (self.peek(), self.text.get(self.at + 1).copied());
        if let (Some(high), Some(low)) = (first.filter(|b| digit(*b)), second.filter(|b| digit(*b))) {
            self.at += 2;
            let value = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 };
            return Ok(value(high) << 4 | value(low));
        }
        let byte = match first {
            Some(b'"' | b'\\' | b'$') => first.unwrap_or_default(),
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'a') => 7,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'v') => 11,
            Some(b'_') => b' ',
            _ => return Err(self.fault()),
        };
        self.at += 1;
        Ok(byte)
    }
}
