//! `scripts/breaking.sh` sees a break of the protos wherever it is: not yet committed, committed, on
//! a branch, or so old that only the first protos know it; and says so where it has no history.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use system_tests::programs;
use tempfile::TempDir;

const FIELD: &str = "  string position = 2;\n";
const EVENT: &str = "proto/eventstore/v1/event.proto";

/// A repository with what the script needs of this one, and one commit.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let from = programs::repository();
        let parts =
            ["scripts/lib.sh", "scripts/breaking.sh", "buf.yaml", "proto", "tests/fixtures"];
        for part in parts {
            let to = repository.path().join(part);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let copied = Command::new("cp").arg("-r").args([from.join(part), to]).status().unwrap();
            assert!(copied.success());
        }
        repository.git(&["init", "-q", "-b", "main"]);
        repository.commit();
        repository.tools();
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The real buf, where the script looks for it.
    fn tools(&self) {
        let bin = self.path().join("target/tools/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(programs::tool("buf").unwrap(), bin.join("buf")).unwrap();
    }

    fn git(&self, args: &[&str]) {
        let who = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let git = Command::new("git").args(who).args(args).current_dir(self.path()).output();
        let git = git.unwrap();
        assert!(git.status.success(), "{args:?}: {}", String::from_utf8_lossy(&git.stderr));
    }

    fn commit(&self) {
        self.git(&["add", "--", "scripts", "buf.yaml", "proto", "tests"]);
        self.git(&["commit", "-q", "-m", "a change"]);
    }

    fn change(&self, from: &str, to: &str) {
        let path = self.path().join(EVENT);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// What the script says when it refuses; nothing when it does not.
    fn refused(&self) -> Option<String> {
        let script = self.path().join("scripts/breaking.sh");
        let output = Command::new(script).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (!output.status.success()).then(|| String::from_utf8(said).unwrap())
    }

    #[track_caller]
    fn assert_refused(&self, parts: &[&str]) {
        let said = self.refused().unwrap();
        for part in parts {
            assert!(said.contains(part), "{part:?} in {said}");
        }
    }
}

#[test]
fn a_field_that_was_removed_is_seen() {
    let repository = Repository::new();
    repository.change(FIELD, &format!("{FIELD}\n  // Added.\n  string added = 900;\n"));
    assert_eq!(repository.refused(), None, "an addition breaks nothing");
    repository.commit();
    assert_eq!(repository.refused(), None);

    repository.change(FIELD, "");
    let break_is_named = ["RecordedEvent", "\"position\"", "was deleted"];
    repository.assert_refused(&break_is_named);
    repository.commit();
    repository.assert_refused(&break_is_named);

    // Later commits do not hide it: clients of the first protos are still there.
    repository.change("// An event and where it stands.", "// Where an event stands.");
    repository.commit();
    repository.assert_refused(&break_is_named);
    repository.assert_refused(&["proto-first"]);
}

#[test]
fn a_branch_is_held_against_what_it_has_in_common_with_main() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    repository.change(FIELD, &format!("{FIELD}\n  // Added.\n  string added = 900;\n"));
    repository.commit();
    repository.git(&["checkout", "-q", "main"]);
    repository.change("// An event and where it stands.", "// Where an event stands.");
    repository.commit();
    repository.git(&["checkout", "-q", "work"]);
    assert_eq!(repository.refused(), None);

    // What only the branch had may go again before it lands.
    repository.change("\n  // Added.\n  string added = 900;\n", "");
    repository.commit();
    assert_eq!(repository.refused(), None);
    repository.change(FIELD, "");
    repository.assert_refused(&["\"position\""]);
}

#[test]
fn without_history_it_says_how_to_get_it() {
    let repository = Repository::new();
    repository.change("// An event and where it stands.", "// Where an event stands.");
    repository.commit();
    let shallow = Repository(tempfile::tempdir().unwrap());
    let origin = format!("file://{}", repository.path().display());
    shallow.git(&["clone", "-q", "--depth", "1", &origin, "."]);
    shallow.tools();
    shallow.assert_refused(&["git fetch --unshallow"]);
    shallow.git(&["fetch", "-q", "--unshallow"]);
    assert_eq!(shallow.refused(), None);
}
