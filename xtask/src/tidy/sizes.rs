//! Long files and long functions. Pure.
//!
//! A file may be longer than [`FILE`] with an entry in `xtask/tidy-allow.toml` that says why. Clippy asks for a reason at
//! each long function; here their share is bounded.

use std::collections::BTreeMap;

use super::{Problem, source, tree::File};

/// The most lines of a file, tests apart.
const FILE: usize = 600;
/// A function of more lines is long: `too-many-lines-threshold` in `clippy.toml`.
const FUNCTION: usize = 60;
/// The largest share of long functions, in percent.
const SHARE: usize = 3;
/// Where long files are excused.
const ALLOW: &str = "xtask/tidy-allow.toml";

/// Every long file without an excuse, every idle excuse, and the long functions when there are too many.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut allowed = files.iter().find(|file| file.path == ALLOW).map_or_else(BTreeMap::new, |file| {
        let (allowed, bad) = excuses(file);
        problems.extend(bad);
        allowed
    });
    for file in files.iter().filter(|file| file.is("rs")) {
        let lines = source::outside_tests(file).count();
        if lines > FILE && allowed.remove(file.path.as_str()).is_none() {
            problems.push(Problem::new(
                &file.path,
                1,
                format!("{lines} lines without tests, more than {FILE}"),
            ));
        }
    }
    problems.extend(allowed.into_iter().map(|(path, line)| {
        Problem::new(
            ALLOW,
            line,
            format!("{path} needs no excuse: it is not there or not longer than {FILE} lines"),
        )
    }));
    problems.extend(long_functions(files));
    problems
}

fn long_functions(files: &[File]) -> Vec<Problem> {
    let mut all = 0;
    let mut long = Vec::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        for function in source::functions(file) {
            all += 1;
            if function.length > FUNCTION {
                long.push((file, function));
            }
        }
    }
    let count = long.len();
    if count * 100 <= all * SHARE {
        return Vec::new();
    }
    long.into_iter()
        .map(|(file, function)| {
            let (name, length) = (&function.name, function.length);
            let text = format!(
                "{name} has {length} lines; {count} of {all} functions are long, more than {SHARE} %"
            );
            Problem::new(&file.path, function.line, text)
        })
        .collect()
}

/// Path → line of the entry. The only form of an entry is `"path" = "reason"`, so that no TOML parser is needed.
fn excuses(file: &File) -> (BTreeMap<&str, usize>, Vec<Problem>) {
    let mut excuses = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, line) in file.lines().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('"').collect();
        match parts[..] {
            ["", path, " = ", reason, ""] if !reason.trim().is_empty() => _ = excuses.insert(path, number),
            _ => problems.push(Problem::new(&file.path, number, "not of the form `\"path\" = \"reason\"`")),
        }
    }
    (excuses, problems)
}

#[cfg(test)]
mod tests {
    //! Each bound, broken on purpose.

    use super::*;

    fn file(path: &str, text: String) -> File {
        File::new(path.to_owned(), text)
    }

    fn lines(n: usize) -> String {
        "//\n".repeat(n)
    }

    fn texts(files: &[File]) -> Vec<String> {
        check(files).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_long_file_needs_an_excuse() {
        assert_eq!(texts(&[file("a.rs", lines(600))]), [""; 0]);
        assert_eq!(texts(&[file("a.rs", lines(601))]), ["a.rs:1: 601 lines without tests, more than 600"]);
        let excuse = file(ALLOW, "# why\n\n\"a.rs\" = \"a table\"\n".to_owned());
        assert_eq!(texts(&[file("a.rs", lines(601)), excuse]), [""; 0]);
    }

    #[test]
    fn tests_do_not_count() {
        let inline = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(600), lines(600));
        assert_eq!(texts(&[file("a.rs", inline), file("b/tests/c.rs", lines(900))]), [""; 0]);
    }

    #[test]
    fn an_idle_excuse_and_one_without_a_reason_are_problems() {
        let excuses = file(ALLOW, "\"a.rs\" = \"long ago\"\n\"b.rs\" = \"\"\nc.rs = 1\n".to_owned());
        let found = texts(&[file("a.rs", lines(5)), excuses]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains(":2: not of the form") && found[1].contains(":3: not of the form"));
        assert!(found[2].contains(":1: a.rs needs no excuse"));
    }

    #[test]
    fn the_share_of_long_functions_is_bounded() {
        let short = "fn a() {\n    1;\n}\n";
        let long = format!("fn b() {{\n{}}}\n", "    1;\n".repeat(59));
        assert_eq!(
            texts(&[file("a.rs", short.repeat(97) + &long.repeat(3))]),
            [""; 0],
            "61 lines each, 3 of 100"
        );
        let found = texts(&[file("a.rs", short.repeat(96) + &long.repeat(4))]);
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], "a.rs:289: b has 61 lines; 4 of 100 functions are long, more than 3 %");
        let just_short = format!("fn b() {{\n{}}}\n", "    1;\n".repeat(58));
        assert_eq!(texts(&[file("a.rs", just_short)]), [""; 0], "60 lines are not long");
    }
}
