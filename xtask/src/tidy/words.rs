//! Words that must not stay: notes to self, skipped tests, paths of somebody's machine. Pure.

use super::{Problem, tree::File};

/// Found anywhere, as whole words. Written in parts, so that this file does not find itself.
const WORDS: [(&str, &str); 10] = [
    (concat!("TO", "DO"), "a note to self: do it, or file an issue"),
    (concat!("FIX", "ME"), "a note to self: do it, or file an issue"),
    (concat!("X", "XX"), "a note to self: do it, or file an issue"),
    (concat!("HA", "CK"), "a note to self: do it, or file an issue"),
    (concat!("To be", " written"), "a note to self: write it, or leave it out"),
    (concat!("#[", "ignore"), "a test that is skipped shows nothing"),
    (concat!("..", "/shared"), "a path outside of the repository"),
    (concat!("/wo", "rk"), "a path of somebody's machine"),
    (concat!("/ro", "ot"), "a path of somebody's machine"),
    (concat!("/ho", "me"), "a path of somebody's machine"),
];

/// Every such word.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    files.iter().flat_map(in_file).collect()
}

fn in_file(file: &File) -> Vec<Problem> {
    let in_line = |(number, line)| {
        let found = WORDS.iter().filter(move |(word, _)| holds(line, word));
        found.map(move |(word, why)| Problem::new(&file.path, number, format!("{word}: {why}")))
    };
    file.lines().flat_map(in_line).collect()
}

/// Whether the word stands in the line and is no part of a longer one.
fn holds(line: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '.';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_letter);
        let after = line[at + word.len()..]
            .chars()
            .next()
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    //! Each word, planted.

    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&[File::new("a.md".to_owned(), text.to_owned())]).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn every_word_is_found_with_its_place() {
        for (word, _) in WORDS {
            let problems = found(&format!("fine\nsee {word}: it\n"));
            assert_eq!(problems.len(), 1, "{word}");
            assert!(problems[0].starts_with(&format!("a.md:2: {word}: ")));
        }
    }

    #[test]
    fn parts_of_longer_words_are_fine() {
        for text in [
            concat!("/wo", "rker"),
            concat!("a/ro", "ot"),
            concat!("mktemp X", "XXXXX"),
            concat!("HA", "CKS"),
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        assert_eq!(found(concat!("(/wo", "rk/main)")).len(), 1);
    }
}
