//! Files that do not say what they are. Pure.

use super::{Problem, tree::File};

/// How many lines of documentation a library opens with at least: what goes in, what comes out, what it refuses to know.
const LIBRARY: usize = 3;

/// Every Rust file that does not open with `//!`, and every library that opens with too little.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    files.iter().filter(|file| file.is("rs")).filter_map(problem).collect()
}

fn problem(file: &File) -> Option<Problem> {
    let opening = file.text.lines().take_while(|line| line.starts_with("//!")).count();
    let is_library = file.path.ends_with("src/lib.rs");
    let text = match opening {
        0 => "does not open with `//!`".to_owned(),
        n if is_library && n < LIBRARY => {
            format!(
                "a library says in at least {LIBRARY} lines what goes in, what comes out and what it refuses to know"
            )
        }
        _ => return None,
    };
    Some(Problem::new(&file.path, 1, text))
}

#[cfg(test)]
mod tests {
    //! Openings, good and bad.

    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&[File::new(path.to_owned(), text.to_owned())]).len()
    }

    #[test]
    fn every_rust_file_opens_with_what_it_is() {
        assert_eq!(found("a/src/b.rs", "//! B.\n"), 0);
        assert_eq!(found("a/tests/b.rs", "use b;\n//! B.\n"), 1);
        assert_eq!(found("a/src/b.rs", "// B.\n"), 1);
        assert_eq!(found("a/src/b.rs", ""), 1);
        assert_eq!(found("a/b.md", "B.\n"), 0);
    }

    #[test]
    fn a_library_says_more() {
        assert_eq!(found("a/src/lib.rs", "//! A.\n"), 1);
        assert_eq!(found("a/src/lib.rs", "//! A.\n//!\n//! In: a.\n"), 0);
    }
}
