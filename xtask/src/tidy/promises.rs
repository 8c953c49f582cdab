//! Promises in `docs/delivery.md` and the tests behind them. Pure.
//!
//! Every list item of that page is a promise and ends with ``(tests: `crate::module::name`, …)``. Each name is that of a
//! test that exists: the crate, its modules (of `tests/`, the file), and a function with a test attribute, or a public
//! one in a file `cases.rs`, which a macro makes a test of for every implementation.

use std::collections::BTreeSet;

use super::{Problem, source, tree::File, workspace::Crate};

const PAGE: &str = "docs/delivery.md";
const MARK: &str = "(tests:";

/// Every promise without tests, and every test that is named and not there.
pub(crate) fn check(files: &[File], workspace: &[Crate]) -> Vec<Problem> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let there = tests(files, workspace);
    items(page).into_iter().flat_map(|item| problems(&item, &there)).collect()
}

/// One list item: its lines with their numbers.
type Item<'a> = Vec<(usize, &'a str)>;

fn items(page: &File) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut is_open = false;
    for (number, line) in page.lines() {
        if line.starts_with("- ") {
            items.push(Vec::new());
        }
        is_open = line.starts_with("- ") || (is_open && line.starts_with("  "));
        if let (true, Some(item)) = (is_open, items.last_mut()) {
            item.push((number, line));
        }
    }
    items
}

fn problems(item: &Item<'_>, there: &BTreeSet<String>) -> Vec<Problem> {
    let names = named(item);
    if names.is_empty() {
        return vec![Problem::new(PAGE, item[0].0, "a promise that names no test")];
    }
    let missing = names.into_iter().filter(|(_, name)| !there.contains(*name));
    missing.map(|(line, name)| Problem::new(PAGE, line, format!("there is no test {name}"))).collect()
}

/// What stands in backticks after the mark.
fn named<'a>(item: &Item<'a>) -> Vec<(usize, &'a str)> {
    let mut names = Vec::new();
    let mut marked = false;
    for (number, line) in item {
        let rest = match line.split_once(MARK) {
            Some((_, rest)) => rest,
            None if marked => line,
            None => continue,
        };
        marked = true;
        names.extend(rest.split('`').skip(1).step_by(2).map(|name| (*number, name)));
    }
    names
}

/// The full name of every test of the workspace.
fn tests(files: &[File], workspace: &[Crate]) -> BTreeSet<String> {
    let of_file = |file| {
        let place = place(file, workspace)?;
        Some(tests_in(file).into_iter().map(move |name| format!("{place}::{name}")))
    };
    files.iter().filter(|file| file.is("rs")).filter_map(of_file).flatten().collect()
}

/// The path of a file's module: its crate, and the modules that lead to it.
fn place(file: &File, workspace: &[Crate]) -> Option<String> {
    let krate = workspace
        .iter()
        .filter(|krate| file.path.starts_with(&krate.folder))
        .max_by_key(|krate| krate.folder.len())?;
    let inside = file.path[krate.folder.len()..].strip_suffix(".rs")?;
    let inside = inside.strip_prefix("src/").or_else(|| inside.strip_prefix("tests/"))?;
    let package = krate.name.replace('-', "_");
    let modules = inside.split('/').filter(|part| !matches!(*part, "lib" | "main" | "mod"));
    Some([package.as_str()].into_iter().chain(modules).collect::<Vec<_>>().join("::"))
}

/// The tests of one file, behind the modules that stand in it.
fn tests_in(file: &File) -> Vec<String> {
    let is_cases = file.is_test && file.path.ends_with("/cases.rs");
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut has_attribute = false;
    let mut tests = Vec::new();
    for (_, line) in file.lines() {
        let text = line.trim_start();
        let indentation = line.len() - text.len();
        if text.starts_with("#[") || text.starts_with("//") {
            has_attribute |= is_test_attribute(text);
            continue;
        }
        if !text.is_empty() {
            modules.retain(|(outer, _)| *outer < indentation);
        }
        if let Some(module) = module_name(text) {
            modules.push((indentation, module));
        }
        let is_test = has_attribute || (is_cases && text.starts_with("pub"));
        if let (true, Some(name)) = (is_test, source::function_name(text)) {
            tests
                .push(modules.iter().map(|(_, module)| *module).chain([name]).collect::<Vec<_>>().join("::"));
        }
        has_attribute = false;
    }
    tests
}

fn is_test_attribute(text: &str) -> bool {
    text.starts_with("#[test]") || text.starts_with("#[tokio::test")
}

fn module_name(text: &str) -> Option<&str> {
    let (_, after) =
        text.split_once("mod ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))?;
    after.strip_suffix(" {")
}

#[cfg(test)]
mod tests {
    //! Promises, kept and broken.

    use std::collections::BTreeMap;

    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::new(path.to_owned(), text.to_owned())
    }

    fn found(page: &str) -> Vec<String> {
        let krate = |name: &str, folder: &str| Crate {
            name: name.to_owned(),
            folder: folder.to_owned(),
            declares: Vec::new(),
            sees: BTreeMap::new(),
        };
        let workspace = [krate("evhub-outer", "outer/"), krate("evhub-inner", "outer/inner/")];
        let inline =
            "//! A.\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn holds() {}\n    fn helps() {}\n}\n";
        let property = "//! P.\nproptest! {\n    #[test]\n    fn always(a in any()) {\n    }\n}\n";
        let waiting = "//! W.\n#[tokio::test]\n#[expect(x)]\nasync fn waits() {}\n#[test]\n// fn comment\nfn stays() {}\n";
        let files = [
            file(PAGE, page),
            file("outer/src/a.rs", inline),
            file("outer/inner/src/lib.rs", inline),
            file("outer/inner/src/p/tests.rs", property),
            file("outer/tests/w.rs", waiting),
            file(
                "outer/tests/contract/cases.rs",
                "//! C.\npub(crate) async fn case<J: Log>(log: J) {}\nfn helps() {}\n",
            ),
            file("outer/src/cases.rs", "//! C.\npub fn no_test() {}\n"),
        ];
        check(&files, &workspace).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn tests_that_exist_are_found_wherever_they_are() {
        let page = "\
# Page

No promise.

- One. (tests: `evhub_outer::a::tests::holds`, `evhub_inner::tests::holds`)
- Two,
  over lines (tests: `evhub_inner::p::tests::always`,
  `evhub_outer::w::waits`, `evhub_outer::w::stays`)
- Three. (tests: `evhub_outer::contract::cases::case`)
";
        assert_eq!(found(page), [""; 0]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_a_problem() {
        for name in [
            "evhub_outer::a::tests::helps",
            "evhub_outer::a::holds",
            "evhub_outer::tests::holds",
            "holds",
            "",
        ] {
            let page = format!("- One.\n  (tests: `evhub_inner::tests::holds`,\n  `{name}`)\n");
            assert_eq!(found(&page), [format!("docs/delivery.md:3: there is no test {name}")]);
        }
    }

    #[test]
    fn a_promise_without_tests_is_a_problem() {
        let page = "- One `code` but no test.\n\n- Two. (tests: none)\n";
        let expected = [1, 3].map(|line| format!("docs/delivery.md:{line}: a promise that names no test"));
        assert_eq!(found(page), expected);
    }
}
