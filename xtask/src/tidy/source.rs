//! What in a Rust file is a test, and where its functions begin and end. Pure.
//!
//! Files are read as rustfmt leaves them, which the format check makes sure of: what begins at some indentation ends
//! with a `}` at the same. That spares a parser.

use super::tree::File;

/// A function with a body of more than one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// How many lines it has, braces included.
    pub length: usize,
}

/// Whether a file of this path is a test, whatever declares it.
pub(crate) fn is_place_of_tests(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    parts.next() == Some("tests.rs") || parts.any(|folder| matches!(folder, "tests" | "benches"))
}

/// Marks the files of modules that are declared as tests: `#[cfg(test)]` before `mod name;`.
pub(crate) fn mark_test_modules(files: &mut [File]) {
    let declared: Vec<String> = files.iter().filter(|file| file.is("rs")).flat_map(test_modules).collect();
    for file in files {
        let module = file.path.trim_end_matches(".rs");
        let is_below = |test: &String| {
            module.strip_prefix(test).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        file.is_test |= declared.iter().any(is_below);
    }
}

/// The paths, without an ending, of the test modules that a file declares.
fn test_modules(file: &File) -> Vec<String> {
    let module = file.path.trim_end_matches(".rs");
    let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
    let folder = if matches!(name, "lib" | "main" | "mod") { folder } else { module };
    let lines: Vec<&str> = file.text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]" && is_module(pair[1]));
    let names = declared.filter_map(|pair| pair[1].strip_suffix(';')?.rsplit(' ').next());
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// The lines that are no test, with their numbers.
pub(crate) fn outside_tests(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<(usize, &str)> = if file.is_test { Vec::new() } else { file.lines().collect() };
    let mut kept = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        if lines[at].1 == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|(_, next)| is_module(next)) {
            let block = lines[at + 1].1.ends_with('{');
            at += if block { block_length(&lines[at + 1..]) + 1 } else { 2 };
        } else {
            kept.push(lines[at]);
            at += 1;
        }
    }
    kept.into_iter()
}

/// The functions outside tests.
pub(crate) fn functions(file: &File) -> Vec<Function> {
    let lines: Vec<(usize, &str)> = outside_tests(file).collect();
    let mut found = Vec::new();
    for (at, (number, line)) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let length = block_length(&lines[at..]);
        let is_declaration = lines[at..at + length].iter().all(|(_, line)| !line.ends_with('{'));
        if !is_declaration {
            found.push(Function { name: name.to_owned(), line: *number, length });
        }
    }
    found
}

/// The name of the function that begins on this line.
pub(crate) fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_prefix = |word: &str| {
        word.starts_with("pub")
            || word.ends_with(')')
            || matches!(word, "const" | "async" | "unsafe" | "extern")
    };
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (before.split_whitespace().all(is_prefix) && !name.is_empty()).then_some(name)
}

fn is_module(line: &str) -> bool {
    line.starts_with("mod ") || line.starts_with("pub(crate) mod ")
}

/// From the first line to the one that closes it: a `}` or a `;` at the same indentation, or the same line.
fn block_length(lines: &[(usize, &str)]) -> usize {
    let first = lines[0].1;
    if first.ends_with(';') || first.ends_with('}') {
        return 1;
    }
    let indentation = indentation(first);
    let closes = |line: &str| {
        self::indentation(line) == indentation && (line.trim_start().starts_with('}') || line.ends_with(';'))
    };
    lines.iter().skip(1).position(|(_, line)| closes(line)).map_or(lines.len(), |position| position + 2)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    //! Cutting tests out, and measuring functions.

    use super::*;

    fn file(text: &str) -> File {
        File::new("a/src/b.rs".to_owned(), text.to_owned())
    }

    #[test]
    fn inline_test_modules_are_cut_out_and_what_follows_stays() {
        let file =
            file("//! B.\nfn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\nfn z() {\n}\n");
        let kept: Vec<usize> = outside_tests(&file).map(|(number, _)| number).collect();
        assert_eq!(kept, [1, 2, 3, 9, 10]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_cut_out() {
        let file = file("//! B.\n#[cfg(test)]\nmod tests;\nfn z() {\n}\n");
        let kept: Vec<usize> = outside_tests(&file).map(|(number, _)| number).collect();
        assert_eq!(kept, [1, 4, 5]);
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in ["a/src/tests.rs", "a/tests/b.rs", "a/src/tests/b.rs", "a/benches/b.rs"] {
            assert!(is_place_of_tests(path), "{path}");
        }
        for path in ["a/src/test.rs", "a/src/latests.rs", "e2e/src/check.rs"] {
            assert!(!is_place_of_tests(path), "{path}");
        }
    }

    #[test]
    fn the_files_of_a_test_module_are_tests() {
        let declaration = "//! A.\n#[cfg(test)]\nmod model;\nmod models;\n";
        let paths = [
            "a/src/lib.rs",
            "a/src/b.rs",
            "a/src/model.rs",
            "a/src/b/model/mod.rs",
            "a/src/models.rs",
            "a/src/model/x.rs",
        ];
        let text = |path: &str| {
            if path.ends_with("src/lib.rs") || path.ends_with("/b.rs") { declaration } else { "//!" }
        };
        let mut files: Vec<File> =
            paths.iter().map(|path| File::new((*path).to_owned(), text(path).to_owned())).collect();
        mark_test_modules(&mut files);
        let tests: Vec<&str> =
            files.iter().filter(|file| file.is_test).map(|file| file.path.as_str()).collect();
        assert_eq!(tests, ["a/src/model.rs", "a/src/b/model/mod.rs", "a/src/model/x.rs"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "impl A {\n    pub(crate) async fn one(\n        a: u8,\n    ) -> u8 {\n        a\n    }\n\n    fn two();\n    fn three() {}\n}\n";
        let expected = Function { name: "one".to_owned(), line: 2, length: 5 };
        assert_eq!(functions(&file(text)), [expected]);
    }

    #[test]
    fn a_declaration_over_several_lines_is_no_function_with_a_body() {
        let text = "trait A {\n    fn one(\n        a: u8,\n    ) -> impl Future<Output = u8>;\n\n    fn two() {\n        1;\n    }\n}\n";
        let names: Vec<String> = functions(&file(text)).into_iter().map(|function| function.name).collect();
        assert_eq!(names, ["two"]);
    }

    #[test]
    fn the_word_fn_in_other_places_begins_no_function() {
        for line in ["    // a fn here", "let f: fn (u8)", "type F = fn (u8);", "    \"fn x\""] {
            assert_eq!(function_name(line), None, "{line}");
        }
        assert_eq!(function_name("pub const unsafe fn x<T>("), Some("x"));
    }
}
