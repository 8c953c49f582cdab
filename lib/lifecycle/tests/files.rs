//! The limit of open files, which belongs to the whole process: alone in its binary.

use evhub_lifecycle::allow_open_files;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn as_many_as_the_process_may_have() {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..before }).unwrap();
    let allowed = allow_open_files();
    let after = getrlimit(Resource::Nofile);
    assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
    assert_eq!(allowed, before.maximum.unwrap_or(u64::MAX));
}
