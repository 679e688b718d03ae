//! Which commands of Redis a program names in its code and scripts.

use std::{collections::BTreeSet, path::Path};

use super::PrivateRedis;
use crate::Rights;

/// Holds what a program asks to be allowed against the commands that the files below a folder name,
/// both ways.
///
/// # Panics
/// When they differ, or the folder cannot be read.
pub fn assert_all_asked_for(rights: &Rights, folder: &Path) {
    let asked: Vec<&str> =
        rights.commands.iter().filter_map(|line| line.split(' ').next()).collect();
    let used = used_in(&PrivateRedis::start(), folder);
    assert!(used.len() > 20, "{used:?}");
    for command in &used {
        assert!(asked.contains(&command.as_str()), "{command} is used and not asked for");
    }
    for command in asked {
        assert!(used.contains(command), "{command} is asked for and not used");
    }
}

/// Those that are quoted in capitals in the files below a folder.
fn used_in(redis: &PrivateRedis, folder: &Path) -> BTreeSet<String> {
    let known: BTreeSet<String> =
        redis.cli(&["COMMAND", "LIST"]).lines().map(str::to_owned).collect();
    let mut used = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the source is there") {
            let path = entry.expect("the source can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("the source is text");
            used.extend(quoted(&text).filter(|word| known.contains(word)));
        }
    }
    used
}

/// Words in capitals between quotes, as commands have them.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split(['\'', '"'])
        .filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        .map(str::to_lowercase)
}
