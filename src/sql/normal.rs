//! The normal form of a statement: its text without values.
//!
//! Job: give all executions of a statement the same text. Invariant: the normal form contains no literal and no
//! parameter, in any dialect, and no comment, because comments may hold trace ids or other data. Pure. Neighbours:
//! `tokens` splits the text, `book` counts by normal form.
//!
//! ```text
//! SELECT * FROM t WHERE a = 'x' AND b IN (1, 2, 3)   ->   SELECT * FROM t WHERE a = ? AND b IN (?...)
//! ```

use super::tokens::{Token, Tokens};

/// Longest normal form in bytes. The rest is cut off, with `...` in its place.
const LONGEST: usize = 4_000;

/// The normal form of `sql`. `strings`: double quotes enclose strings, as in MySQL, not names.
#[must_use]
pub fn normal_form(sql: &str, strings: bool) -> String {
    let tokens: Vec<Token<'_>> = Tokens::of(sql).collect();
    let has_source = tokens.iter().any(|token| SOURCES.iter().any(|word| token.is(word)));
    let mut shape = Shape { has_source, strings, ..Shape::default() };
    for (at, token) in tokens.iter().enumerate() {
        if token.is_blank() {
            shape.blank = true;
        } else {
            shape.push(token, tokens.iter().skip(at + 1).find(|next| !next.is_blank()));
            shape.blank = false;
        }
    }
    shape.text
}

/// Whether the statement (a normal form) controls a transaction (`BEGIN`, `COMMIT`, `SAVEPOINT`, ...) or the session
/// (`SET`, `PRAGMA`, ...). Drivers send such statements on their own, and the statements return no data of the program.
#[must_use]
pub fn is_transaction(normal: &str) -> bool {
    let mut words = normal.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_ascii_uppercase();
    match first.as_str() {
        "BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "ABORT" => true,
        "SET" | "RESET" | "DISCARD" | "PRAGMA" | "SHOW" | "USE" => true,
        "START" => words.next().is_some_and(|word| word.eq_ignore_ascii_case("transaction")),
        "END" => words.next().is_none_or(|word| word.eq_ignore_ascii_case("transaction")),
        _ => false,
    }
}

/// Start of the text of a call that is no SQL: `redis: GET`. Books list calls by line, but do not count them as
/// queries.
pub const CALL: &str = "redis: ";

/// Whether the statement (a normal form) changes rows. A cause of an N+1 cannot be such a statement: it has no result
/// to iterate over.
#[must_use]
pub fn is_write(normal: &str) -> bool {
    let word = normal.split(|letter: char| !letter.is_ascii_alphabetic()).find(|word| !word.is_empty());
    let writes = ["insert", "update", "delete", "replace", "merge", "create", "copy"];
    word.is_some_and(|word| writes.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// A name made up by the client follows each of these words.
const MADE_UP: [&str; 5] = ["savepoint", "release", "prepare", "deallocate", "cursor"];
/// Words before the name of a table.
const SOURCES: [&str; 5] = ["from", "into", "update", "table", "join"];
/// A name follows each of these words.
const BEFORE_NAMES: [&str; 11] =
    ["from", "join", "into", "update", "table", "as", "by", "on", "select", "index", "distinct"];

/// A normal form under construction.
#[derive(Default)]
struct Shape {
    text: String,
    cut: bool,
    /// Whether there is a blank before the current token.
    blank: bool,
    /// Kind of the last token in `text`.
    last: Last,
    /// The last word in lower case, if only `(`, `,` and values followed it.
    clause: String,
    /// Whether the statement names a table. Without a table, `"x"` cannot be a column.
    has_source: bool,
    strings: bool,
    /// Open groups: for each, its start in `text`, the number of its values, and whether there is anything else.
    groups: Vec<Group>,
    /// Start and end in `text` of the last closed group.
    ended: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Word,
    Value,
    Open,
    Close,
    Dot,
    Comma,
    Sign,
}

struct Group {
    at: usize,
    values: usize,
    plain: bool,
    after_in: bool,
}

impl Shape {
    fn push(&mut self, token: &Token<'_>, next: Option<&Token<'_>>) {
        if self.cut {
            return;
        }
        match token {
            Token::Blank => {}
            Token::Value => self.value(),
            Token::Word(_) | Token::Quoted(_) | Token::Name(_) if self.names_a_made_up_thing(token) => self.value(),
            Token::Word(word) => {
                self.clause = word.to_ascii_lowercase();
                self.other(word, Last::Word);
            }
            Token::Quoted(text) => {
                if self.quoted_is_a_name(next) {
                    self.other(text, Last::Word);
                } else {
                    self.value();
                }
            }
            Token::Name(text) => self.other(text, Last::Word),
            Token::Sign("(") => {
                let after_in = self.clause == "in" && self.last == Last::Word;
                self.space(Last::Open);
                self.groups.push(Group { at: self.text.len(), values: 0, plain: true, after_in });
                self.text.push('(');
                self.last = Last::Open;
            }
            Token::Sign(")") => self.close(),
            Token::Sign(",") => {
                self.text.push(',');
                self.last = Last::Comma;
            }
            Token::Sign(";") if next.is_none() => {}
            Token::Sign(sign @ ("." | "::")) => {
                self.not_plain();
                self.text.push_str(sign);
                self.last = Last::Dot;
            }
            // A sign before a number is part of the number.
            Token::Sign("-" | "+") if self.is_unary() && matches!(next, Some(Token::Value)) => {}
            Token::Sign(sign) => self.other(sign, Last::Sign),
        }
        if self.text.len() > LONGEST {
            let mut end = LONGEST;
            while !self.text.is_char_boundary(end) {
                end -= 1;
            }
            self.text.truncate(end);
            self.text.push_str("...");
            self.cut = true;
        }
    }

    fn is_unary(&self) -> bool {
        matches!(self.last, Last::Nothing | Last::Open | Last::Comma | Last::Sign)
            || (self.last == Last::Word && !self.clause.is_empty() && is_keyword(&self.clause))
    }

    fn names_a_made_up_thing(&self, token: &Token<'_>) -> bool {
        let last_word = self.last == Last::Word && MADE_UP.contains(&self.clause.as_str());
        last_word && !["savepoint", "all", "for", "with", "without", "select"].iter().any(|word| token.is(word))
    }

    /// Whether `"..."` is a column or a table here, rather than a string of MySQL or sqlite.
    fn quoted_is_a_name(&self, next: Option<&Token<'_>>) -> bool {
        if self.strings {
            return false;
        }
        if self.last == Last::Dot || matches!(next, Some(Token::Sign("." | "("))) {
            return true;
        }
        let before = self.clause.as_str();
        let after_name = matches!(next, Some(Token::Sign("=" | "<" | ">" | "<=" | ">=" | "<>" | "!=")));
        match self.last {
            Last::Sign => false,
            Last::Word if !self.has_source => false,
            Last::Word if before.is_empty() => true,
            Last::Word => after_name || BEFORE_NAMES.contains(&before) || !is_keyword(before),
            Last::Open | Last::Comma => self.has_source && !matches!(before, "values" | "in" | "like" | "then"),
            Last::Nothing | Last::Value | Last::Close | Last::Dot => self.has_source,
        }
    }

    fn space(&mut self, next: Last) {
        let joined = matches!(self.last, Last::Nothing | Last::Open | Last::Dot)
            || (next == Last::Open && self.last == Last::Word && !self.blank && self.clause != "in");
        if !joined {
            self.text.push(' ');
        }
    }

    fn not_plain(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.plain = false;
        }
    }

    fn value(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.values += 1;
        }
        self.space(Last::Value);
        self.text.push('?');
        self.last = Last::Value;
    }

    fn other(&mut self, text: &str, last: Last) {
        self.not_plain();
        self.space(last);
        self.text.push_str(text);
        self.last = last;
        self.ended = None;
    }

    fn close(&mut self) {
        let Some(group) = self.groups.pop() else {
            self.text.push(')');
            self.last = Last::Close;
            return;
        };
        if group.plain && (group.values > 1 || (group.values == 1 && group.after_in)) {
            self.text.truncate(group.at);
            self.text.push_str("(?...)");
        } else {
            self.text.push(')');
        }
        self.last = Last::Close;
        // `VALUES (?...), (?...)`: keep one row only.
        let end = self.text.len();
        if let Some((start, stop)) = self.ended
            && self.text.get(stop..group.at) == Some(", ")
            && self.text.get(start..stop) == self.text.get(group.at..end)
            && self.clause == "values"
        {
            self.text.truncate(stop);
            return;
        }
        let inside_another = self.groups.last_mut().map(|outer| outer.plain = false).is_some();
        self.ended = (!inside_another).then_some((group.at, end));
    }
}

/// Whether an operand must follow this word, so that the word cannot be a name.
fn is_keyword(word: &str) -> bool {
    const KEYWORDS: [&str; 31] = [
        "select",
        "from",
        "where",
        "and",
        "or",
        "not",
        "in",
        "like",
        "between",
        "limit",
        "offset",
        "set",
        "values",
        "value",
        "on",
        "when",
        "then",
        "else",
        "case",
        "is",
        "as",
        "by",
        "having",
        "join",
        "returning",
        "into",
        "update",
        "exists",
        "interval",
        "ilike",
        "using",
    ];
    KEYWORDS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::{is_transaction, normal_form};

    #[test]
    fn one_shape_stands_for_all_values_and_all_styles_of_parameters() {
        let shape = "SELECT * FROM t WHERE a = ? AND b IN (?...)";
        for sql in [
            "SELECT * FROM t WHERE a = 1 AND b IN (1, 2, 3)",
            "SELECT *  FROM t\nWHERE a = 'it''s' AND b IN ('x')",
            "SELECT * FROM t WHERE a = %s AND b IN (%s, %s)",
            "SELECT * FROM t WHERE a = $1 AND b IN ($2,$3)",
            "SELECT * FROM t WHERE a = :a AND b IN (:b_1, :b_2);",
            "SELECT * FROM t WHERE a = %(a)s AND b IN (%(b)s)",
            "SELECT * FROM t WHERE a = -1.5e-3 /* who */ AND b IN (0x1F, X'00') -- why",
            "SELECT * FROM t WHERE a = E'\\'s3cret' AND b IN ($$x$$, $q$y$q$)",
        ] {
            assert_eq!(normal_form(sql, false), shape, "{sql}");
        }
    }

    #[test]
    fn no_literal_is_left_in_any_dialect() {
        for sql in [
            "SELECT * FROM t WHERE a = \"s3cret\"",
            "SELECT \"s3cret\"",
            "INSERT INTO t VALUES (\"s3cret\", 's3cret', N's3cret')",
            "SELECT a FROM t WHERE a LIKE \"s3cret%\" OR a IN (\"s3cret\", \"s3cret\")",
            "SELECT 1 -- s3cret",
            "SELECT 1 # s3cret\n",
            "/* s3cret */ SELECT 1",
            "SELECT 's3cret",
            "SELECT 'a\\'s3cret'",
            "SELECT * FROM t WHERE a = 'C:\\' AND b = 's3cret'",
            "ALTER USER x PASSWORD 's3cret'",
            "SELECT * FROM t WHERE a BETWEEN \"s3cret\" AND \"s3cret\"",
            "UPDATE t SET a = \"s3cret\" WHERE b > \"s3cret\"",
            "SELECT $body$ s3cret $body$",
        ] {
            assert!(!normal_form(sql, false).contains("s3cret"), "{}", normal_form(sql, false));
        }
    }

    #[test]
    fn double_quotes_hold_strings_if_the_dialect_has_it_so() {
        assert_eq!(normal_form("SELECT \"s3cret\" FROM t ORDER BY \"s3cret\"", true), "SELECT ? FROM t ORDER BY ?");
    }

    #[test]
    fn names_stay() {
        for sql in [
            "SELECT \"a\".\"b\" FROM \"a\" INNER JOIN \"c\" ON (\"a\".\"id\" = \"c\".\"id2\") ORDER BY \"a\".\"b\" ASC",
            "INSERT INTO \"t\" (\"a\", \"b\") VALUES (?...)",
            "UPDATE \"t\" SET \"a\" = ?",
            "SELECT `a` FROM `t1` WHERE x2 = y3 AND z::text = ?",
            "SELECT count(*), max(a) FROM t",
        ] {
            assert_eq!(normal_form(sql, false), sql);
        }
    }

    #[test]
    fn rows_of_values_are_one_row() {
        assert_eq!(
            normal_form("INSERT INTO t (a, b) VALUES (1, 2), (3, 4), (5, 6)", false),
            "INSERT INTO t (a, b) VALUES (?...)"
        );
        assert_eq!(normal_form("INSERT INTO t VALUES (%s),(%s)", false), "INSERT INTO t VALUES (?)");
    }

    #[test]
    fn names_that_clients_make_up_are_no_part() {
        assert_eq!(normal_form("SAVEPOINT \"s1234_x2\"", false), "SAVEPOINT ?");
        assert_eq!(normal_form("RELEASE SAVEPOINT s1_x1", false), "RELEASE SAVEPOINT ?");
        assert_eq!(normal_form("ROLLBACK TO SAVEPOINT `s1`", false), "ROLLBACK TO SAVEPOINT ?");
    }

    #[test]
    fn transactions_are_recognised_by_their_first_word() {
        for sql in ["BEGIN", "BEGIN IMMEDIATE", "commit", "SAVEPOINT ?", "START TRANSACTION", "END", "PRAGMA x"] {
            assert!(is_transaction(sql), "{sql}");
        }
        for sql in ["SELECT ?", "BEGINNING", "", "START REPLICA"] {
            assert!(!is_transaction(sql), "{sql}");
        }
    }

    #[test]
    fn a_long_statement_is_cut() {
        let sql = format!("SELECT {}", "columnä, ".repeat(1_000));
        assert!(normal_form(&sql, false).len() < 4_010);
    }
}
