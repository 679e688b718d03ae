//! The API reference in docs/api is what the comments of the protos say today.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use system_tests::{api_docs, programs};

#[test]
fn the_reference_is_current() {
    let folder = programs::repository().join(api_docs::FOLDER);
    let kept: BTreeMap<String, String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let made = api_docs::pages().unwrap();
    assert_eq!(kept.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>());
    for (name, page) in made {
        assert!(kept[&name] == page, "docs/api/{name} is not current: run `make api-docs`");
    }
}

/// Links within a page lead to its headings.
#[test]
fn no_link_leads_nowhere() {
    let mut checked = 0;
    for (name, page) in api_docs::pages().unwrap() {
        let headings =
            page.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
        let anchors: Vec<String> =
            headings.map(|heading| heading.to_lowercase().replace('.', "")).collect();
        for (at, _) in page.match_indices("](#") {
            let link = page[at + 3..].split(')').next().unwrap();
            assert!(anchors.iter().any(|anchor| anchor == link), "{name}: #{link}");
            checked += 1;
        }
    }
    assert!(checked > 200, "only {checked} links were checked");
}
