//! The tokens of a statement, in any dialect of SQL.
//!
//! Job: find where literals, names, words and comments begin and end. Invariant: if any dialect reads a text as a
//! literal, the text is never a [`Token::Word`]. Pure. Neighbour: `normal` makes the normal form of the tokens.

/// One token of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Blank,
    /// A literal or a placeholder.
    Value,
    Word(&'a str),
    /// `"name"`, which some dialects read as a string.
    Quoted(&'a str),
    /// `` `name` `` or `[name]`.
    Name(&'a str),
    Sign(&'a str),
}

impl Token<'_> {
    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Token::Blank)
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(this) if this.eq_ignore_ascii_case(word))
    }
}

/// Meaning of a backslash in a quoted text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    /// The backslash escapes the next character.
    Escape,
    /// The backslash is an ordinary character.
    Letter,
    /// Either, depending on the dialect and its settings.
    Unknown,
}

/// The tokens of a statement, in order. Comments are blanks.
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// The tokens of `sql`.
    pub(super) fn of(sql: &'a str) -> Self {
        Self { rest: sql }
    }

    /// Takes the first `bytes` bytes, extended to the next boundary of a character.
    fn take(&mut self, bytes: usize) -> &'a str {
        let mut bytes = bytes.min(self.rest.len());
        while !self.rest.is_char_boundary(bytes) {
            bytes += 1;
        }
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Length in bytes of the quoted text, whose content begins `from` bytes on. A doubled quote belongs to the
    /// content. After a backslash, a quote belongs to the content in some dialects and ends the text in others. If the
    /// dialect is unknown, the whole rest counts as part of the literal, because otherwise a literal could pass for a
    /// name.
    fn quoted(&self, from: usize, quote: u8, backslash: Backslash) -> usize {
        let bytes = self.rest.as_bytes();
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            if byte == b'\\' && backslash != Backslash::Letter {
                if backslash == Backslash::Unknown && bytes.get(at + 1) == Some(&quote) {
                    return bytes.len();
                }
                at += 2;
            } else if byte == quote {
                if bytes.get(at + 1) != Some(&quote) {
                    return at + 1;
                }
                at += 2;
            } else {
                at += 1;
            }
        }
        bytes.len()
    }

    /// Length in bytes of PostgreSQL's `$tag$ ... $tag$`, if such a text begins here.
    fn dollar_quoted(&self) -> Option<usize> {
        let end = self.rest.get(1..)?.find('$')? + 1;
        let tag = self.rest.get(..=end)?;
        let inner = tag.get(1..end)?;
        let named = inner.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if !named || inner.starts_with(|letter: char| letter.is_ascii_digit()) {
            return None;
        }
        let body = self.rest.get(end + 1..)?;
        Some(body.find(tag).map_or(self.rest.len(), |at| end + 1 + at + tag.len()))
    }

    fn word(&self, from: usize) -> usize {
        let text = self.rest.get(from..).unwrap_or_default();
        let end = text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '$'));
        from + end.unwrap_or(text.len())
    }

    fn number(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let exponent = matches!(byte, b'+' | b'-') && at > 0 && matches!(bytes[at - 1], b'e' | b'E');
            let hex = bytes.len() > 1 && matches!(bytes[1], b'x' | b'X');
            if byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || (exponent && !hex) {
                at += 1;
            } else {
                break;
            }
        }
        at
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.rest.as_bytes();
        let (&first, second) = (bytes.first()?, bytes.get(1).copied().unwrap_or(0));
        let token = match first {
            byte if byte.is_ascii_whitespace() => {
                let end = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len());
                self.take(end);
                Token::Blank
            }
            b'-' if second == b'-' => self.comment_to_line_end(),
            b'#' if !matches!(second, b'>' | b'-' | b'=') => self.comment_to_line_end(),
            b'/' if second == b'*' => {
                let end = self.rest.get(2..).and_then(|rest| rest.find("*/")).map_or(bytes.len(), |at| at + 4);
                self.take(end);
                Token::Blank
            }
            b'\'' => {
                self.take(self.quoted(1, b'\'', Backslash::Unknown));
                Token::Value
            }
            b'"' => Token::Quoted(self.take(self.quoted(1, b'"', Backslash::Unknown))),
            b'`' => Token::Name(self.take(self.quoted(1, b'`', Backslash::Letter))),
            b'$' if let Some(end) = self.dollar_quoted() => {
                self.take(end);
                Token::Value
            }
            b'$' | b'?' if second.is_ascii_digit() => {
                self.take(self.word(1));
                Token::Value
            }
            b'?' if !matches!(second, b'|' | b'&') => {
                self.take(1);
                Token::Value
            }
            b'%' if matches!(second, b's' | b't' | b'b') => {
                self.take(2);
                Token::Value
            }
            b'%' if second == b'(' && self.rest.find(')').is_some() => {
                let end = self.rest.find(')').unwrap_or(0);
                self.take(end + 2);
                Token::Value
            }
            b'%' if second == b'%' => Token::Sign(self.take(2)),
            b':' if second == b':' || second == b'=' => Token::Sign(self.take(2)),
            b':' if second.is_ascii_alphanumeric() || second == b'_' => {
                self.take(self.word(1));
                Token::Value
            }
            b'@' if second.is_ascii_alphabetic() => Token::Name(self.take(self.word(1))),
            byte if byte.is_ascii_digit() || (byte == b'.' && second.is_ascii_digit()) => {
                self.take(self.number());
                Token::Value
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                let end = self.word(0).max(1);
                // In `E'..'`, `N'..'`, `X'..'`, `B'..'` and `_utf8'..'`, the prefix is part of the literal.
                let prefix = end <= 2 || first == b'_';
                if prefix && bytes.get(end) == Some(&b'\'') {
                    let escapes = matches!(first, b'e' | b'E');
                    let backslash = if escapes { Backslash::Escape } else { Backslash::Unknown };
                    self.take(self.quoted(end + 1, b'\'', backslash));
                    Token::Value
                } else {
                    Token::Word(self.take(end))
                }
            }
            b'<' | b'>' | b'!' if matches!(second, b'=' | b'>' | b'<') => Token::Sign(self.take(2)),
            b'|' if second == b'|' => Token::Sign(self.take(2)),
            _ => Token::Sign(self.take(1)),
        };
        Some(token)
    }
}

impl<'a> Tokens<'a> {
    fn comment_to_line_end(&mut self) -> Token<'a> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.take(end);
        Token::Blank
    }
}
