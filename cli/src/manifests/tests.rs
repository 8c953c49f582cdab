//! What files come to.

use std::fmt::Write as _;

use super::*;

/// Each object as one line: where it is, what it is.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let mut loaded = Loaded::default();
    document::read("f.yaml", text, &mut loaded);
    assert_eq!(lines(&loaded), expected);
}

fn lines(loaded: &Loaded) -> Vec<String> {
    let objects = loaded.objects.iter().map(|object| match object {
        Object::Resource(resource) => {
            let origin = resource.origin.as_ref().unwrap();
            let mut line = format!("{origin} {} {}", resource.kind, resource.name);
            for problem in &resource.unknown {
                write!(line, " unknown {}", problem.path).unwrap();
            }
            line
        }
        Object::Undecodable { origin, problem, .. } => format!("{origin} undecodable: {problem}"),
    });
    objects.chain(loaded.warnings.iter().cloned()).collect()
}

fn producer(name: &str) -> String {
    format!("apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: {name} }}\nspec: {{}}\n")
}

#[test]
fn documents_are_numbered_by_their_first_line() {
    let text = format!(
        "%YAML 1.2\n# first\n---\n{}---\n# nothing\n---\n\n# second\n{}...\n--- {{}}\n",
        producer("a"),
        producer("b")
    );
    check(
        &text,
        &[
            "f.yaml:4 Producer default/a",
            "f.yaml:13 Producer default/b",
            "f.yaml:18 undecodable: apiVersion is required: evhub.dev/v1alpha1",
        ],
    );
}

#[test]
fn a_broken_document_stands_alone() {
    let text = format!("{}---\na: [\n---\n{}---\na: 1\na: 2\n", producer("a"), producer("b"));
    let mut loaded = Loaded::default();
    document::read("f.yaml", &text, &mut loaded);
    let found = lines(&loaded);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[1].contains("undecodable"), "{}", found[1]);
    assert_eq!(found[2], "f.yaml:8 Producer default/b");
    assert!(found[3].starts_with("f.yaml:14 undecodable: ") && found[3].contains("line 14"), "{}", found[3]);
}

#[test]
fn windows_files_and_marks_are_read() {
    check(&format!("\u{feff}{}", producer("a").replace('\n', "\r\n")), &["f.yaml:1 Producer default/a"]);
}

#[test]
fn json_is_read() {
    check(
        r#"{"apiVersion":"evhub.dev/v1alpha1","kind":"Producer","metadata":{"name":"a","namespace":"shop"}}"#,
        &["f.yaml:1 Producer shop/a"],
    );
}

#[test]
fn names_are_never_guessed() {
    for word in ["on", "off", "yes", "No", "y", "n", "true", "OFF"] {
        check(
            &producer(word),
            &[
                "f.yaml:1 undecodable: metadata.name must be a string: unquoted, on, off, yes, no, y, n, true and \
               false are booleans; write quotes",
            ],
        );
    }
    check(&producer("'on'"), &["f.yaml:1 Producer default/on"]);
    check(
        &producer("12"),
        &["f.yaml:1 undecodable: metadata.name must be a string: unquoted, 12 is a number; write quotes"],
    );
    check(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: { generateName: a- }\n",
        &["f.yaml:1 undecodable: metadata.name is required (generateName works with an API server only)"],
    );
}

#[test]
fn others_are_left_out_and_misspelt_ones_are_not() {
    check(
        "apiVersion: v1\nkind: Service\nmetadata: { name: a }\n",
        &["f.yaml:1: left out: v1 Service is not one of evhub's"],
    );
    check(
        "apiVersion: evhub.dev/v1alpha1\nkind: Procesor\n",
        &["f.yaml:1 undecodable: kind Procesor is unknown; evhub knows Producer and Processor"],
    );
    check(
        "apiVersion: evhub.dev/v1\nkind: Producer\n",
        &[
            "f.yaml:1 undecodable: apiVersion evhub.dev/v1 is unknown here; this evhub knows evhub.dev/v1alpha1",
        ],
    );
}

#[test]
fn unknown_fields_are_named_wherever_they_are() {
    check(
        &producer("a, labels: {x: y}, lable: z")
            .replace("spec: {}", "spec: { topic: { partition: 1 } }\nstatuss: 1"),
        &["f.yaml:1 Producer default/a unknown spec.topic.partition unknown statuss unknown metadata.lable"],
    );
}

#[test]
fn tricks_are_refused() {
    let bomb = (0..30).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
        let next = i + 1;
        text + &format!("a{next}: &a{next} [*a{i}, *a{i}, *a{i}, *a{i}]\n")
    });
    let deep = "[".repeat(5000);
    for text in [bomb.as_str(), deep.as_str(), "a: !!python/object:os.system x\n", "\ta: 1\n", "a: .nan\n"] {
        let mut loaded = Loaded::default();
        document::read("f.yaml", text, &mut loaded);
        let found = lines(&loaded);
        assert!(found.len() == 1 && found[0].contains("undecodable"), "{found:?}");
    }
}

#[test]
fn a_directory_is_read_by_name_and_not_below() {
    let dir = tempfile::tempdir().unwrap();
    for (file, name) in [("b.yml", "b"), ("a.yaml", "a"), ("c.json", "c"), ("d.txt", "d"), (".e.yaml", "e")] {
        fs::write(dir.path().join(file), producer(name)).unwrap();
    }
    fs::create_dir(dir.path().join("f.yaml")).unwrap();
    let loaded = load(&[dir.path().to_owned()]).unwrap();
    let names: Vec<String> =
        lines(&loaded).iter().map(|line| line.rsplit('/').next().unwrap().into()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn files_that_are_no_text_are_undecodable() {
    let dir = tempfile::tempdir().unwrap();
    let (binary, large, empty) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    File::create(&large).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    File::create(&empty).unwrap();
    let found = lines(&load(&[binary, large, empty]).unwrap());
    assert!(found[0].ends_with("a:1 undecodable: the file is not UTF-8 text"), "{}", found[0]);
    assert!(found[1].ends_with("b:1 undecodable: the file is larger than 8 MiB"), "{}", found[1]);
    assert!(found[2].contains("c:1 undecodable: the file is empty"), "{}", found[2]);
}

#[test]
fn every_missing_path_is_told() {
    let error = load(&["no/such/a".into(), "no/such/b".into()]).unwrap_err();
    assert_eq!(error.problems.len(), 2);
    assert!(error.problems[0].starts_with("no/such/a: there is no such file or directory: name "), "{error}");
}

#[test]
fn a_file_that_cannot_be_looked_at_is_not_a_file_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), producer("a")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("away"), dir.path().join("b.yaml")).unwrap();
    let error = load(&[dir.path().to_owned()]).unwrap_err();
    assert!(error.problems[0].contains("b.yaml: this link leads nowhere"), "{error}");
    fs::write(dir.path().join("away"), producer("b")).unwrap();
    assert_eq!(load(&[dir.path().to_owned()]).unwrap().objects.len(), 2);
}
