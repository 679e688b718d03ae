//! Comments as Markdown, with links to what they name.

use std::collections::BTreeMap;

use prost_types::FileDescriptorProto;

/// A comment without its margin and without what it tells other programs.
pub fn of_comment(comment: &str) -> String {
    let lines = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("buf:lint:")).collect();
    lines.join("\n").trim().to_owned()
}

/// The same for a cell of a table, which is one line.
pub fn in_a_cell(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("<br>").replace('|', "\\|")
}

/// The anchor of a heading, as Markdown viewers make it.
pub fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace('.', "")
}

/// What can be linked to, by the names that comments have for it.
pub struct Links(BTreeMap<String, String>);

impl Links {
    /// To everything in a package's files.
    pub fn to<'a>(files: impl Iterator<Item = &'a FileDescriptorProto>) -> Self {
        let mut links = BTreeMap::new();
        let mut link = |name: String, heading: &str| {
            links.insert(name, format!("#{}", anchor(heading)));
        };
        for file in files {
            for message in &file.message_type {
                let name = message.name();
                link(name.to_owned(), name);
                for field in &message.field {
                    link(format!("{name}.{}", field.name()), name);
                }
            }
            for of in &file.enum_type {
                link(of.name().to_owned(), of.name());
                for value in &of.value {
                    link(value.name().to_owned(), of.name());
                }
            }
            for service in &file.service {
                link(service.name().to_owned(), service.name());
                for method in &service.method {
                    let call = format!("{}.{}", service.name(), method.name());
                    // By itself if it is not a word that one may want to begin a sentence with.
                    if !is_word(method.name()) {
                        link(method.name().to_owned(), &call);
                    }
                    link(call.clone(), &call);
                }
            }
        }
        Self(links)
    }

    /// A type by its full name, as `.eventstore.v1.Event`.
    pub fn to_type(&self, full: &str) -> String {
        let name = full.rsplit('.').next().unwrap_or(full);
        let google = full.trim_start_matches('.');
        if full.starts_with(".google.protobuf.") {
            let address = "https://protobuf.dev/reference/protobuf/google.protobuf/#";
            return format!("[{google}]({address}{})", name.to_lowercase());
        }
        if full.starts_with(".google.rpc.") {
            return format!("[{google}](../../proto/google/rpc/{}.proto)", name.to_lowercase());
        }
        match self.0.get(name) {
            Some(link) => format!("[{name}]({link})"),
            None => name.to_owned(),
        }
    }

    /// Sets links in a text, except in code.
    pub fn set(&self, text: &str) -> String {
        let mut set = String::new();
        for (index, part) in text.split('`').enumerate() {
            if index > 0 {
                set.push('`');
            }
            if index % 2 == 1 {
                set.push_str(part);
            } else {
                self.set_in(part, &mut set);
            }
        }
        set
    }

    fn set_in(&self, text: &str, set: &mut String) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let mut rest = text;
        while let Some(start) = rest.find(is_part) {
            let length = rest[start..].find(|c| !is_part(c)).unwrap_or(rest.len() - start);
            let word = rest[start..start + length].trim_end_matches('.');
            set.push_str(&rest[..start]);
            match self.0.get(word).filter(|_| !is_word(word)) {
                Some(link) => set.push_str(&format!("[{word}]({link})")),
                None => set.push_str(word),
            }
            // A word of dots alone is passed over as it is.
            let taken = if word.is_empty() { length } else { word.len() };
            if word.is_empty() {
                set.push_str(&rest[start..start + length]);
            }
            rest = &rest[start + taken..];
        }
        set.push_str(rest);
    }
}

/// Whether a name is an ordinary word, so that it need not be meant: `Event`, not `EventFilter`.
fn is_word(name: &str) -> bool {
    !name.chars().skip(1).any(|c| c.is_ascii_uppercase() || c == '.' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_markdown() {
        let comment = " Reads. See\n Event.\n\n Errors: A | B.\n buf:lint:ignore X\n";
        assert_eq!(of_comment(comment), "Reads. See\nEvent.\n\nErrors: A | B.");
        assert_eq!(in_a_cell(&of_comment(comment)), "Reads. See Event.<br>Errors: A \\| B.");
    }

    #[test]
    fn names_become_links_where_they_are_meant() {
        let links = ["Event", "EventFilter", "Event.id", "GetReply"];
        let link = |name: &str| (name.to_owned(), format!("#{}", anchor(name)));
        let links = Links(links.iter().map(|name| link(name)).collect());
        let text = "Event … EventFilter, `EventFilter`, Event.id. GetReply.";
        let with = "Event … [EventFilter](#eventfilter), `EventFilter`, [Event.id](#eventid). \
                    [GetReply](#getreply).";
        assert_eq!(links.set(text), with);
    }
}
