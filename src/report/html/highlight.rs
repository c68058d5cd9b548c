//! Python source split into coloured runs, line by line.
//!
//! Job: find, for each line of a file, the characters that are a keyword, a string, a comment and so on, including
//! strings and f-string fields that span lines. Invariants: for any text, the lengths of a line's runs add up to the
//! line; broken code gets plain colours, never a panic. Neighbours: `source` writes the runs as HTML, `payload` puts
//! them into the page's data.

/// The kind of a run of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything else: names, operators, white space.
    Plain,
    /// Reserved word; also a soft keyword such as `match` where the line uses it as a keyword.
    Keyword,
    /// Built-in function, type, exception or constant.
    Builtin,
    /// String, bytes or the literal part of an f-string.
    Text,
    /// Comment.
    Comment,
    /// Number.
    Number,
    /// Decorator with its dotted name.
    Decorator,
    /// Name being defined by `def` or `class`.
    Definition,
}

impl Kind {
    /// The letter of this kind in class names and in the page's data.
    pub(super) fn letter(self) -> char {
        match self {
            Kind::Plain => 'w',
            Kind::Keyword => 'k',
            Kind::Builtin => 'b',
            Kind::Text => 's',
            Kind::Comment => 'c',
            Kind::Number => 'n',
            Kind::Decorator => 'd',
            Kind::Definition => 'f',
        }
    }
}

/// Neighbouring characters of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Kind of the characters.
    pub(super) kind: Kind,
    /// Length in bytes.
    pub(super) len: usize,
}

/// The string around the scanner's position. `Field` is the code between the braces of an f-string.
#[derive(Clone, Copy)]
enum Mode {
    Text { quote: u8, triple: bool, formatted: bool, spec: bool },
    Field { depth: u32 },
}

/// Remembers the open strings and brackets from line to line.
#[derive(Default)]
pub(super) struct Highlighter {
    modes: Vec<Mode>,
    /// Number of open brackets in plain code. Inside brackets, a new line does not begin a statement.
    depth: u32,
}

const KEYWORDS: [&str; 32] = [
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise",
    "return", "try", "while", "with", "yield",
];

const BUILTINS: [&str; 76] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "Ellipsis",
    "Exception",
    "False",
    "FileNotFoundError",
    "ImportError",
    "IndexError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "NameError",
    "None",
    "NotImplemented",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "RuntimeError",
    "StopIteration",
    "SystemExit",
    "True",
    "TypeError",
    "ValueError",
    "ZeroDivisionError",
    "abs",
    "all",
    "any",
    "bool",
    "bytearray",
    "bytes",
    "callable",
    "chr",
    "classmethod",
    "complex",
    "dict",
    "dir",
    "divmod",
    "enumerate",
    "eval",
    "exec",
    "filter",
    "float",
    "format",
    "frozenset",
    "getattr",
    "hasattr",
    "hash",
    "hex",
    "id",
    "input",
    "int",
    "isinstance",
    "iter",
    "len",
    "list",
    "map",
    "max",
    "memoryview",
    "min",
    "next",
    "object",
    "open",
    "ord",
    "print",
    "property",
    "range",
    "set",
    "sorted",
    "str",
    "sum",
    "super",
    "tuple",
    "zip",
];

impl Highlighter {
    /// The runs of the next line. The argument has no newline. Neighbouring runs differ in kind.
    pub(super) fn line(&mut self, line: &str) -> Vec<Run> {
        let mut scan = Scan { line, at: 0, runs: Vec::new(), defines: false, start: self.starts_statement() };
        while scan.at < line.len() {
            match self.modes.last().copied() {
                Some(Mode::Text { quote, triple, formatted, spec }) => {
                    self.text(&mut scan, quote, triple, formatted, spec)
                }
                _ => self.code(&mut scan),
            }
        }
        self.end_line(line);
        scan.runs
    }

    fn starts_statement(&self) -> bool {
        self.modes.is_empty() && self.depth == 0
    }

    /// Ends a string with single quotes at the end of its line, unless the line ends with a backslash.
    fn end_line(&mut self, line: &str) {
        let backslashes = line.bytes().rev().take_while(|&b| b == b'\\').count();
        if backslashes % 2 == 1 {
            return;
        }
        while let Some(Mode::Text { triple: false, spec, .. }) = self.modes.last() {
            let spec = *spec;
            self.modes.pop();
            if spec {
                self.modes.pop();
            }
        }
    }

    /// Scans a string up to its end or to its next field.
    fn text(&mut self, scan: &mut Scan<'_>, quote: u8, triple: bool, formatted: bool, spec: bool) {
        let bytes = scan.line.as_bytes();
        let begin = scan.at;
        let mut at = begin;
        while at < bytes.len() {
            let b = bytes[at];
            let ends =
                b == quote && (!triple || (bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote)));
            if b == b'\\' {
                at += 2;
            } else if spec && (b == b'}' || ends) {
                scan.push(Kind::Text, at - begin);
                self.modes.pop();
                return;
            } else if ends {
                at += if triple { 3 } else { 1 };
                scan.push(Kind::Text, at - begin);
                self.modes.pop();
                return;
            } else if formatted && b == b'{' {
                if !spec && bytes.get(at + 1) == Some(&b'{') {
                    at += 2;
                    continue;
                }
                scan.push(Kind::Text, at - begin);
                scan.push(Kind::Plain, 1);
                self.modes.push(Mode::Field { depth: 0 });
                return;
            } else {
                at += 1;
            }
        }
        scan.push(Kind::Text, at.min(bytes.len()) - begin);
    }

    /// Scans one token of plain code, or of the code in a field.
    fn code(&mut self, scan: &mut Scan<'_>) {
        let rest = &scan.line[scan.at..];
        let Some(first) = rest.chars().next() else { return };
        if first.is_whitespace() {
            let len = rest.len() - rest.trim_start().len();
            scan.push(Kind::Plain, len);
            return;
        }
        let start = std::mem::replace(&mut scan.start, false);
        if first == '#' {
            scan.push(Kind::Comment, rest.len());
        } else if let Some((prefix, mode)) = string_start(rest) {
            scan.push(Kind::Text, prefix);
            self.modes.push(mode);
        } else if first == '@' && start {
            let name = rest[1..].find(|c: char| !is_name(c) && c != '.').map_or(rest.len(), |end| end + 1);
            scan.push(Kind::Decorator, name);
        } else if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let len = number_len(rest);
            scan.push(Kind::Number, len);
        } else if is_name(first) {
            let len = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            scan.name(len, start);
        } else {
            self.bracket(first);
            scan.push(Kind::Plain, first.len_utf8());
        }
    }

    /// Counts brackets, and handles the `:` or `}` that ends the expression of a field.
    fn bracket(&mut self, c: char) {
        let Some(Mode::Field { depth }) = self.modes.last_mut() else {
            match c {
                '(' | '[' | '{' => self.depth += 1,
                ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            return;
        };
        match c {
            '(' | '[' | '{' => *depth += 1,
            '}' if *depth == 0 => {
                self.modes.pop();
            }
            ')' | ']' | '}' => *depth = depth.saturating_sub(1),
            ':' if *depth == 0 => {
                if let Some(Mode::Text { quote, triple, .. }) = self.modes.iter().rev().nth(1).copied() {
                    self.modes.push(Mode::Text { quote, triple, formatted: true, spec: true });
                }
            }
            _ => {}
        }
    }
}

/// The line being scanned.
struct Scan<'a> {
    line: &'a str,
    at: usize,
    runs: Vec<Run>,
    /// Whether the last word was `def` or `class`.
    defines: bool,
    /// Whether the next token begins a statement.
    start: bool,
}

impl Scan<'_> {
    fn push(&mut self, kind: Kind, len: usize) {
        if len == 0 {
            return;
        }
        self.at += len;
        match self.runs.last_mut() {
            Some(last) if last.kind == kind => last.len += len,
            _ => self.runs.push(Run { kind, len }),
        }
    }

    /// Scans a word of `len` bytes.
    fn name(&mut self, len: usize, start: bool) {
        let word = &self.line[self.at..self.at + len];
        let attribute = self.line[..self.at].trim_end().ends_with('.');
        let kind = if self.defines {
            Kind::Definition
        } else if attribute {
            Kind::Plain
        } else if KEYWORDS.contains(&word) || (start && self.is_soft_keyword(word, len)) {
            Kind::Keyword
        } else if BUILTINS.binary_search(&word).is_ok() {
            Kind::Builtin
        } else {
            Kind::Plain
        };
        self.defines = matches!(word, "def" | "class") && kind == Kind::Keyword;
        self.push(kind, len);
    }

    /// Whether `word` is a keyword in `match x:`, `case y:` or `type X = ...`: the text behind the word decides.
    fn is_soft_keyword(&self, word: &str, len: usize) -> bool {
        let rest = self.line[self.at + len..].trim_start();
        match word {
            "match" | "case" => rest.contains(':') && !rest.starts_with(['=', '.', ',', ')', ']', ':']),
            "type" => rest.starts_with(is_name) && rest.contains('='),
            _ => false,
        }
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Length of the number at the start: digits, letters (`0x`, `e`, `j`), `_`, points, and the sign of an exponent.
fn number_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let hex = rest.starts_with("0x") || rest.starts_with("0X");
    let mut at = 0;
    while at < bytes.len() {
        let b = bytes[at];
        let exponent_sign = (b == b'+' || b == b'-') && !hex && at > 0 && matches!(bytes[at - 1], b'e' | b'E');
        if !(b.is_ascii_alphanumeric() || b == b'_' || b == b'.' || exponent_sign) {
            break;
        }
        at += 1;
    }
    at
}

/// The prefix and opening quotes of the string that begins here: their length, and the mode that follows.
fn string_start(rest: &str) -> Option<(usize, Mode)> {
    let bytes = rest.as_bytes();
    let prefix = bytes.iter().take(3).position(|b| matches!(b, b'"' | b'\''))?;
    let letters = &bytes[..prefix];
    if !letters.iter().all(|b| b"rRbBuUfFtT".contains(b)) {
        return None;
    }
    let quote = bytes[prefix];
    let triple = bytes.get(prefix + 1) == Some(&quote) && bytes.get(prefix + 2) == Some(&quote);
    let formatted = letters.iter().any(|b| b"fFtT".contains(b));
    let len = prefix + if triple { 3 } else { 1 };
    Some((len, Mode::Text { quote, triple, formatted, spec: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines' runs as `letter:text`, plain runs left out.
    fn runs(source: &str) -> Vec<String> {
        let mut highlighter = Highlighter::default();
        let mut out = Vec::new();
        for line in source.split('\n') {
            let mut at = 0;
            for run in highlighter.line(line) {
                let text = &line[at..at + run.len];
                at += run.len;
                if run.kind != Kind::Plain {
                    out.push(format!("{}:{text}", run.kind.letter()));
                }
            }
            assert_eq!(at, line.len(), "the runs cover `{line}`");
        }
        out
    }

    #[test]
    fn words_numbers_and_comments_have_their_kind() {
        assert_eq!(
            runs("@app.route\nasync def f(x): return len(x.len) + 0x1F_e - 1e-3 # café"),
            ["d:@app.route", "k:async", "k:def", "f:f", "k:return", "b:len", "n:0x1F_e", "n:1e-3", "c:# café"]
        );
    }

    #[test]
    fn a_string_of_three_quotes_runs_over_lines() {
        assert_eq!(runs("x = '''a\n# not a comment\nb''' # yes"), ["s:'''a", "s:# not a comment", "s:b'''", "c:# yes"]);
    }

    #[test]
    fn a_string_of_one_quote_ends_with_its_line_unless_a_backslash_carries_it() {
        assert_eq!(runs("'open\nif"), ["s:'open", "k:if"]);
        assert_eq!(runs("'a\\\nif' if"), ["s:'a\\", "s:if'", "k:if"]);
    }

    #[test]
    fn fields_of_an_f_string_are_code_even_with_its_own_quotes() {
        assert_eq!(runs("f\"a{x[\"k\"]!r:>{width}}{{b}}\" if"), ["s:f\"a", "s:\"k\"", "s:>", "s:{{b}}\"", "k:if"]);
        assert_eq!(runs("rf'''{\nlen(x) # c\n}z'''"), ["s:rf'''", "b:len", "c:# c", "s:z'''"]);
    }

    #[test]
    fn soft_keywords_are_keywords_only_where_they_act_as_such() {
        assert_eq!(
            runs("match x:\n  case 1: pass\nmatch = 1\ntype X = int\ntype(x)"),
            ["k:match", "k:case", "n:1", "k:pass", "n:1", "k:type", "b:int"]
        );
    }

    #[test]
    fn any_text_is_covered_to_its_end() {
        for text in
            ["\\", "'\\", "f'{", "f'{x:", "f'{x:'", "}}))", "é'é\\é'", "\u{0}\u{202e}@", "f'''{f'{f\"{", "0x", "1e+"]
        {
            runs(text);
            runs(&format!("{text}\n{text}\n{text}"));
        }
    }

    #[test]
    fn builtins_are_sorted_for_the_search() {
        assert!(BUILTINS.is_sorted());
    }
}
