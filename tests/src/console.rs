//! The commands shown in the docs: found, run as they stand, and compared with what is shown.
//!
//! A block fenced as `console` holds commands (`$ …`, continued after a backslash, within quotes and
//! up to the end of a here-document) and below each what it printed. All commands of a document run
//! in one shell, so that one may use what another has set. JSON is compared value by value, other
//! text line by line, both without what differs from run to run (see [`mask`]). A line `...` stands
//! for any number of lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::programs;

mod mask;

/// A command and what the document says it prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Example {
    /// Line of the document, from 1.
    pub line: usize,
    /// The command.
    pub command: String,
    /// Its output.
    pub shown: String,
}

/// All examples of a Markdown document.
#[must_use]
pub fn examples(markdown: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut continued = false;
    for (index, line) in markdown.lines().enumerate() {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            inside = !inside && fence.trim() == "console";
            continued = false;
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ").filter(|_| !continued) {
            found.push(Example {
                line: index + 1,
                command: command.to_owned(),
                shown: String::new(),
            });
        } else if let Some(example) = found.last_mut() {
            let text = if continued { &mut example.command } else { &mut example.shown };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
        if let Some(example) = found.last() {
            let in_command = continued || line.starts_with("$ ");
            continued = in_command && is_open(&example.command);
        }
    }
    found
}

/// Whether a command goes on in the next line: after a backslash, within quotes, or as long as the
/// word that ends a here-document has not come.
fn is_open(command: &str) -> bool {
    if let Some((before, after)) = command.split_once("<<") {
        let word = after.trim_start_matches('\'').chars();
        let word: String = word.take_while(char::is_ascii_uppercase).collect();
        if !word.is_empty() && !in_quotes(before) {
            return command.lines().skip(1).all(|line| line != word);
        }
    }
    in_quotes(command)
}

/// Whether quotes, or a backslash at the end, are open.
fn in_quotes(command: &str) -> bool {
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None | Some('"'), '\\') => {
                let Some(_escaped) = characters.next() else { return true };
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    quote.is_some()
}

/// What a command has printed.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Its output and its errors, as a terminal shows them.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs examples in one shell in a folder, after `replace`ments (such as documented ports by real
/// ones), with the fetched tools and the built programs on the path. Answers what each
/// printed.
///
/// # Errors
/// When the shell can't be run, or ends before the last of them.
pub async fn run(
    examples: &[Example],
    replace: &BTreeMap<String, String>,
    folder: &Path,
) -> anyhow::Result<Vec<Printed>> {
    const MARK: &str = "@@@ end of an example at";
    let mut script = String::new();
    for example in examples {
        let mut command = example.command.clone();
        for (from, to) in replace {
            command = command.replace(from, to);
        }
        script.push_str(&format!("{command}\necho; echo \"{MARK} $EPOCHREALTIME\"\n"));
    }
    let tools = programs::repository().join("target/tools/bin");
    let programs = programs::folder()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut started = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let mut shell = Command::new("bash")
        .current_dir(folder)
        .env("PATH", format!("{}:{}:{path}", tools.display(), programs.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Errors are part of what a terminal shows.
    script.insert_str(0, "exec 2>&1\n");
    let mut stdin = shell.stdin.take().context("no input")?;
    stdin.write_all(script.as_bytes()).await?;
    drop(stdin);
    let output = shell.wait_with_output().await?;
    let text = String::from_utf8(output.stdout)?;
    let mut outputs = Vec::new();
    let mut current = Vec::new();
    for line in text.lines() {
        if let Some(ended) = line.strip_prefix(MARK) {
            // In some languages of the shell the seconds have a comma.
            let ended: f64 = ended.trim().replace(',', ".").parse()?;
            let took = Duration::from_secs_f64((ended - started).max(0.0));
            outputs.push(Printed { text: current.join("\n").trim_end().to_owned(), took });
            started = ended;
            current.clear();
        } else {
            current.push(line);
        }
    }
    if outputs.len() != examples.len() {
        bail!("the shell ended after {} commands: {text}", outputs.len());
    }
    Ok(outputs)
}

/// Whether what was printed is what is shown.
///
/// # Errors
/// What differs.
pub fn compare(example: &Example, printed: &str) -> anyhow::Result<()> {
    let same = match (json(&example.shown), json(printed)) {
        (Some(shown), Some(printed)) => shown == printed,
        _ => {
            let [shown, printed] = [&example.shown, printed].map(mask::text);
            lines_match(&lines(&shown), &lines(&printed))
        }
    };
    if !same {
        bail!(
            "line {}: `{}` shows\n{}\nbut printed\n{printed}",
            example.line,
            example.command,
            example.shown
        );
    }
    Ok(())
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

fn lines_match(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((&"...", rest)) => (0..=printed.len()).any(|from| lines_match(rest, &printed[from..])),
        Some((line, rest)) => printed.first() == Some(line) && lines_match(rest, &printed[1..]),
    }
}

fn json(text: &str) -> Option<Vec<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    let values: Result<Vec<Value>, _> = values.collect();
    let mut values = values.ok().filter(|values| !values.is_empty())?;
    values.iter_mut().for_each(mask::value);
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "text\n```console\n$ echo one \\\n  two\none two\n$ echo 'a\n\"b' >&2\na\n\"b\n```\n\
                            ```sh\n$ not this\n```\n```console\n$ X=3\n$ echo $X\n3\n```\n";

    #[test]
    fn examples_are_found() {
        let found = examples(DOCUMENT);
        let commands: Vec<_> = found.iter().map(|e| (e.line, e.command.as_str())).collect();
        let expected =
            [(3, "echo one \\\n  two"), (6, "echo 'a\n\"b' >&2"), (15, "X=3"), (16, "echo $X")];
        assert_eq!(commands, expected);
        assert_eq!(found[0].shown, "one two");
        assert_eq!(found[1].shown, "a\n\"b");
        assert_eq!(found[3].shown, "3");
    }

    #[test]
    fn a_here_document_belongs_to_its_command() {
        let found = examples("```console\n$ cat <<'END' | tr a b\na\n$ a\nEND\nb\n$ a\n```\n");
        let found: Vec<_> = found.iter().map(|e| (e.command.as_str(), e.shown.as_str())).collect();
        assert_eq!(found, [("cat <<'END' | tr a b\na\n$ a\nEND", "b"), ("a", "")]);
    }

    #[tokio::test]
    async fn examples_run_in_one_shell() {
        let found = examples(DOCUMENT);
        let printed = run(&found, &BTreeMap::new(), programs::repository()).await.unwrap();
        for (example, printed) in found.iter().zip(&printed) {
            compare(example, &printed.text).unwrap();
        }
        assert!(compare(&found[0], "one three").is_err());
    }

    #[test]
    fn what_differs_from_run_to_run_is_masked() {
        let example =
            |shown: &str| Example { line: 1, command: String::new(), shown: shown.to_owned() };
        let shown = example(r#"{"position": "1-0", "sequence": "1"}"#);
        assert!(compare(&shown, r#"{ "sequence":"1","position":"2-7" }"#).is_ok());
        assert!(compare(&shown, r#"{ "sequence":"2","position":"2-7" }"#).is_err());
        let error = "topic a ends at 1795267285489-5, before 9999999999999-1; id 7";
        let other = "topic a ends at 1795267285490-6, before 9999999999999-1; id 7";
        assert!(compare(&example(error), other).is_ok());
        assert!(compare(&example(error), &other.replace("id 7", "id 8")).is_err());
        let rate = example(r#"{"sentPerSecond": 0.1, "events": "2"}"#);
        assert!(compare(&rate, r#"{"events": "2"}"#).is_ok());
        assert!(compare(&rate, r#"{"events": "3"}"#).is_err());
        assert!(compare(&example("a\n...\nd"), "a\nb\nc\nd").is_ok());
        assert!(compare(&example("a\n...\nd"), "a\nb\nc").is_err());
    }
}
