//! What docs/event-store.md promises is shown by tests: each test that it names is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeMap;
use std::path::Path;

/// The tests of a file, or of all files of a folder.
fn text_of(place: &Path) -> String {
    if place.is_file() {
        return std::fs::read_to_string(place).unwrap();
    }
    let files = std::fs::read_dir(place)
        .unwrap_or_else(|error| panic!("{} is named, and not there: {error}", place.display()));
    files.map(|file| text_of(&file.unwrap().path())).collect()
}

#[test]
fn each_test_that_the_guarantees_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("../docs/event-store.md")).unwrap();
    let (_, rest) = document.split_once("## What is guaranteed").unwrap();
    let (table, _) = rest.split_once("\n## ").unwrap();
    let (mut file, mut texts, mut named) = ("", BTreeMap::new(), 0);
    let rows = table.lines().filter_map(|line| line.strip_suffix('|')?.rsplit_once('|'));
    for (_, shown_by) in rows {
        for name in shown_by.split('`').skip(1).step_by(2) {
            let (place, test) = name.split_once("::").unwrap_or((name, ""));
            // As in the cell before.
            file = if place == "…" { file } else { place };
            let tests =
                texts.entry(file).or_insert_with(|| text_of(&root.join("tests").join(file)));
            assert!(tests.contains(&format!("fn {test}")), "{file} has no test {test}");
            named += 1;
        }
    }
    assert!(named > 30, "only {named} tests were found in the table");
}
