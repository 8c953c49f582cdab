//! Words that a crate's source must not hold because of what the crate refuses to know. Pure.

use super::{
    Problem,
    rules::{MENTIONS, Mention},
    source,
    tree::File,
};

/// Every forbidden mention outside tests and comments.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    MENTIONS.iter().flat_map(|rule| files.iter().flat_map(|file| violations(rule, file))).collect()
}

fn violations(rule: &Mention, file: &File) -> Vec<Problem> {
    if !file.is("rs")
        || !file.path.starts_with(rule.folder)
        || rule.except.is_some_and(|except| file.path.starts_with(except))
    {
        return Vec::new();
    }
    source::outside_tests(file)
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(number, line)| {
            let word = rule.words.iter().find(|word| line.contains(**word))?;
            Some(Problem::new(&file.path, number, format!("mentions {word}: {}", rule.reason)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! Each rule, broken on purpose.

    use super::*;

    fn problems(path: &str, text: &str) -> Vec<Problem> {
        check(&[File::new(path.to_owned(), text.to_owned())])
    }

    #[test]
    fn every_word_of_every_rule_is_found() {
        for rule in MENTIONS {
            for word in rule.words {
                let path = format!("{}a.rs", rule.folder);
                let found = problems(&path, &format!("//! A file.\nuse x;\nlet y = {word}();\n"));
                assert_eq!(found.len(), 1, "{word} in {path}");
                assert_eq!(found[0].line, 3);
            }
        }
    }

    #[test]
    fn tests_comments_other_folders_and_the_exception_may() {
        let word = "evhub_proto";
        assert_eq!(problems("dataplane/routing/src/a.rs", "use evhub_proto;").len(), 1);
        assert_eq!(problems("dataplane/routing/src/wire.rs", &format!("use {word};")), []);
        assert_eq!(problems("dataplane/src/a.rs", &format!("use {word};")), []);
        assert_eq!(problems("dataplane/routing/src/a.rs", &format!("// no {word} here")), []);
        assert_eq!(problems("dataplane/routing/src/a/tests.rs", &format!("use {word};")), []);
    }
}
