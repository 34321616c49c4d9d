//! Lists: a SELECT that grows with its filters, and pages.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Encode, Type};

use crate::api::Page as ApiPage;
use crate::hub::store::{Paging, Scope};

/// A statement in parts. Text comes from the code only; values are bound.
pub(super) struct Sql {
    text: String,
    arguments: AnyArguments,
    count: usize,
}

impl Sql {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), arguments: AnyArguments::default(), count: 0 }
    }

    /// Begins with a text that has its first placeholders in it already.
    pub fn with(text: impl Into<String>, numbers: impl IntoIterator<Item = i64>, last: String) -> Self {
        let mut sql = Self::new("");
        for number in numbers {
            sql.bind(number);
        }
        sql.bind(last);
        sql.with_text(text)
    }

    /// Takes a text in which the placeholders of what was bound so far stand already.
    pub fn with_text(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Puts a placeholder here, for this value.
    pub fn bind<'q, T: Encode<'q, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        use std::fmt::Write as _;

        use sqlx::Arguments as _;
        self.count += 1;
        // Values of this store are numbers, texts and bytes: their encoding in memory cannot fail, nor can writing to a String.
        if self.arguments.add(value).is_err() || write!(self.text, "${}", self.count).is_err() {
            tracing::error!("a value that cannot be bound");
        }
        self
    }

    /// Limits to what the actor may see.
    pub fn scope(&mut self, column: &str, scope: &Scope) -> &mut Self {
        if let Scope::Account(account) = scope {
            self.push(" AND ").push(column).push(" = ").bind(account.as_str().to_owned());
        }
        self
    }

    /// Limits to what is behind the page before, in the order of ids.
    pub fn after(&mut self, column: &str, paging: &Paging) -> &mut Self {
        if let Some(cursor) = &paging.cursor {
            self.push(" AND ").push(column).push(" > ").bind(cursor.replace('\0', ""));
        }
        self.push(" ORDER BY ").push(column).push(" LIMIT ").bind(paging.more())
    }

    /// Limits to rows with `text` in one of these columns; case does not matter.
    pub fn search(&mut self, columns: &[&str], text: Option<&str>) -> &mut Self {
        self.search_with(columns, None, text)
    }

    /// The same, or in a column of rows that belong to it: `within` is a SELECT without its end, and the column.
    pub fn search_with(&mut self, columns: &[&str], within: Option<(&str, &str)>, text: Option<&str>) -> &mut Self {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return self };
        let escaped =
            text.to_lowercase().replace('\0', "").replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let pattern = format!("%{escaped}%");
        for (index, column) in columns.iter().enumerate() {
            let before = if index == 0 { " AND (lower(" } else { " OR lower(" };
            self.push(before).push(column).push(") LIKE ").bind(pattern.clone()).push(" ESCAPE '\\'");
        }
        if let Some((select, column)) = within {
            self.push(" OR EXISTS ").push(select).push(" AND lower(").push(column).push(") LIKE ");
            self.bind(pattern).push(" ESCAPE '\\')");
        }
        self.push(")")
    }

    pub fn query(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
    }
}

/// Pages of a list.
pub(super) trait Page {
    /// One more than a page holds: tells whether anything follows.
    fn more(&self) -> i64;
    /// Cuts what was read for a page, and names its end.
    fn page<T>(&self, items: Vec<T>, end: impl Fn(&T) -> String) -> ApiPage<T>;
}

impl Page for Paging {
    fn more(&self) -> i64 {
        i64::try_from(self.limit.saturating_add(1)).unwrap_or(i64::MAX)
    }

    fn page<T>(&self, mut items: Vec<T>, end: impl Fn(&T) -> String) -> ApiPage<T> {
        let follows = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().filter(|_| follows).map(end);
        ApiPage { items, next }
    }
}
