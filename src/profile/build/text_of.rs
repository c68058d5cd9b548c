//! Facts about source files, needed while code is defined.
//!
//! Job: answer from files or their names: is the code in a file at all, did pip install the file, does the program
//! compile strings, and which line defines a function. Invariant: the builder does no I/O; without [`Files`] the answer
//! is unknown. Neighbours: `launch::disk` answers from the disk, `scope` and `code` ask.

use std::sync::Arc;

/// Answers about files.
pub trait Files: std::fmt::Debug + Send + Sync {
    /// The text of the file, if it can be read.
    fn text(&self, path: &str) -> Option<Arc<str>>;
    /// True if an installer lists the file as its own, in the folder of a `*.dist-info` beside it.
    fn is_installed(&self, path: &str) -> bool;
}

/// True for a name without a file: `<string>`, `<stdin>`, `<frozen os>`, `<class 'argmap'> compilation 4`.
pub(crate) fn is_pseudo(path: &str) -> bool {
    path.starts_with('<') && path.contains('>')
}

/// True for the names of source that the user typed: cells, prompts and doctests. Library code always executes such
/// source.
pub(crate) fn is_typed(path: &str) -> bool {
    const TYPED: [&str; 7] =
        ["<stdin", "<doctest ", "<ipython-input", "<python-input", "<console>", "<input>", "<ipykernel"];
    TYPED.iter().any(|typed| path.starts_with(typed))
}

/// True for the name of a source string, given by CPython, a library or `inline`, that the user did not type as a cell
/// or at a prompt.
pub(crate) fn is_text(path: &str) -> bool {
    is_pseudo(path) && !is_typed(path) && !path.starts_with("<frozen ") && path != "<unknown>"
}

/// True if the source `text` defines a function of this name on this line: by `def`, `class`, `lambda`, or a decorator
/// above.
pub(crate) fn defines(text: &str, qualname: &str, first_line: u32) -> bool {
    let name = qualname.rsplit('.').next().unwrap_or(qualname);
    if name == "<module>" {
        return first_line <= 1;
    }
    let Some(line) = text.lines().nth(first_line.saturating_sub(1) as usize).map(str::trim) else { return false };
    match name {
        "<lambda>" => line.contains("lambda"),
        "<genexpr>" | "<listcomp>" | "<setcomp>" | "<dictcomp>" => line.contains(['(', '[', '{']),
        _ => line.starts_with('@') || named(line, "def", name) || named(line, "class", name),
    }
}

/// True if `line` contains `keyword name`, and the name ends there.
fn named(line: &str, keyword: &str, name: &str) -> bool {
    line.match_indices(keyword).any(|(at, _)| {
        let rest = line[at + keyword.len()..].trim_start();
        rest.strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    })
}

/// True if the source `text` calls a function that compiles strings: `exec`, `eval`, `compile`, `FunctionType`.
pub(crate) fn makes_code(text: &str) -> bool {
    ["exec", "eval", "compile", "FunctionType"].iter().any(|maker| {
        text.match_indices(maker).any(|(at, _)| {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            let call = text[at + maker.len()..].trim_start_matches(' ').starts_with('(');
            // `re.compile(...)` and other methods of the same name compile no Python; `builtins.exec` and
            // `types.FunctionType` do.
            let own = !(before.is_alphanumeric() || before == '_' || before == '.');
            call && (own || text[..at].ends_with("builtins.") || text[..at].ends_with("types."))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_found_by_its_line_and_its_whole_name() {
        let text =
            "import a\ndef work(n):\n    return [x for x in n]\n@cached\nasync def fetch(): pass\nf = lambda: 1\n";
        assert!(defines(text, "work", 2));
        assert!(defines(text, "outer.<locals>.work", 2));
        assert!(!defines(text, "wor", 2));
        assert!(!defines(text, "work", 3));
        assert!(defines(text, "fetch", 4));
        assert!(defines(text, "fetch", 5));
        assert!(defines(text, "<lambda>", 6));
        assert!(!defines(text, "<lambda>", 1));
        assert!(!defines(text, "work", 99));
    }

    #[test]
    fn compile_is_distinguished_from_re_compile() {
        for maker in ["exec(text)", "x = eval (text)", "builtins.exec(t)", "c = compile(t, 'a', 'exec')"] {
            assert!(makes_code(maker), "{maker}");
        }
        for other in ["re.compile('a')", "os.execv(a)", "my_exec(a)", "session.execute(q)", "model.eval()"] {
            assert!(!makes_code(other), "{other}");
        }
    }
}
