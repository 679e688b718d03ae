//! The API reference in docs/api, made from the comments of the proto files: a page for each
//! package, and one that lists all calls.
//!
//! - `text` comments as Markdown, with links to what they name

mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
};
use text::{Links, in_a_cell, of_comment};

/// Where the pages are, under the root of the repository.
pub const FOLDER: &str = "docs/api";

const MADE: &str = "<!-- Made by `make api-docs` from the comments in proto/. -->\n\n";

/// All pages: name and content.
///
/// # Errors
/// When the compiled protos can't be read, or have a form that nothing here has had so far.
pub fn pages() -> anyhow::Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    let mut index = format!(
        "{MADE}# API reference\n\nEvery call of both services. How to make them by hand, with \
         answers and errors: [the grpcurl cookbook](../grpcurl.md).\n"
    );
    let packages = [
        ("eventstore.v1", proto::eventstore::v1::FILE_DESCRIPTOR_SET),
        ("messagequeue.v1", proto::messagequeue::v1::FILE_DESCRIPTOR_SET),
    ];
    for (name, compiled) in packages {
        let package = Package::read(name, compiled)?;
        pages.insert(format!("{name}.md"), package.page()?);
        index.push_str(&package.in_index()?);
    }
    pages.insert("README.md".to_owned(), index);
    Ok(pages)
}

/// Comments of one file, by the path of what they are about.
type Comments = BTreeMap<Vec<i32>, String>;

/// A package: its files with their comments.
struct Package {
    name: &'static str,
    files: Vec<(FileDescriptorProto, Comments)>,
    links: Links,
}

/// Field numbers of `FileDescriptorProto` and what is in it, of which comments' paths are made.
mod path {
    pub const PACKAGE: i32 = 2;
    pub const MESSAGE: i32 = 4;
    pub const ENUM: i32 = 5;
    pub const SERVICE: i32 = 6;
    /// Of a message its fields, of a service its methods, of an enum its values.
    pub const PART: i32 = 2;
    pub const ONEOF: i32 = 8;
}

impl Package {
    fn read(name: &'static str, compiled: &[u8]) -> anyhow::Result<Self> {
        let set = FileDescriptorSet::decode(compiled)?;
        let own = set.file.into_iter().filter(|file| file.package() == name);
        let files: Vec<_> = own.map(|file| (file.clone(), comments(&file))).collect();
        anyhow::ensure!(!files.is_empty(), "no file of package {name}");
        let links = Links::to(files.iter().map(|(file, _)| file));
        Ok(Self { name, files, links })
    }

    fn page(&self) -> anyhow::Result<String> {
        let mut page = format!("{MADE}# {}\n\n", self.name);
        let about = self.files.iter().find_map(|(_, comments)| comments.get(&vec![path::PACKAGE]));
        writeln!(page, "{}", self.text(about.context("the package has no comment")?))?;
        for (service, at, comments) in self.parts(path::SERVICE, |file| &file.service) {
            self.service(&mut page, service, &at, comments)?;
        }
        writeln!(page, "\n# Messages")?;
        for (message, at, comments) in self.parts(path::MESSAGE, |file| &file.message_type) {
            self.message(&mut page, message, &at, comments)?;
        }
        writeln!(page, "\n# Enums")?;
        for (of, at, comments) in self.parts(path::ENUM, |file| &file.enum_type) {
            self.values(&mut page, of, &at, comments)?;
        }
        Ok(page)
    }

    /// Everything of a kind in all files, with its path and the comments of its file.
    fn parts<'a, T: 'a>(
        &'a self,
        kind: i32,
        of: fn(&FileDescriptorProto) -> &Vec<T>,
    ) -> impl Iterator<Item = (&'a T, Vec<i32>, &'a Comments)> {
        self.files.iter().flat_map(move |(file, comments)| {
            (0..).zip(of(file)).map(move |(index, part)| (part, vec![kind, index], comments))
        })
    }

    fn text(&self, comment: &str) -> String {
        self.links.set(&of_comment(comment))
    }

    fn service(
        &self,
        page: &mut String,
        service: &ServiceDescriptorProto,
        at: &[i32],
        comments: &Comments,
    ) -> anyhow::Result<()> {
        let name = service.name();
        writeln!(page, "\n# {name}\n\n{}", self.text(comment(comments, at)?))?;
        for (index, method) in (0..).zip(&service.method) {
            let call = method.name();
            let stream = |is: bool| if is { "stream of " } else { "" };
            let (input, output) =
                (self.links.to_type(method.input_type()), self.links.to_type(method.output_type()));
            let comment = comment(comments, &[at, &[path::PART, index]].concat())?;
            writeln!(
                page,
                "\n## {name}.{call}\n\n{}{input} → {}{output}\n\n{}",
                stream(method.client_streaming()),
                stream(method.server_streaming()),
                self.text(comment)
            )?;
        }
        Ok(())
    }

    fn message(
        &self,
        page: &mut String,
        message: &DescriptorProto,
        at: &[i32],
        comments: &Comments,
    ) -> anyhow::Result<()> {
        let about = self.text(comment(comments, at)?);
        writeln!(page, "\n## {}\n\n{about}", message.name())?;
        if message.field.is_empty() {
            return Ok(());
        }
        writeln!(page, "\n| field | type | |\n| --- | --- | --- |")?;
        let mut choice = None;
        for (index, field) in (0..).zip(&message.field) {
            let one_of = field.oneof_index.filter(|_| !field.proto3_optional());
            if let Some(of) = one_of.filter(|of| choice != Some(*of)) {
                let about = comment(comments, &[at, &[path::ONEOF, of]].concat())?;
                let name = message.oneof_decl.get(usize::try_from(of)?).context("no oneof")?.name();
                writeln!(page, "| | one of {name}: | {} |", in_a_cell(&self.text(about)))?;
            }
            choice = one_of;
            let about = comment(comments, &[at, &[path::PART, index]].concat())?;
            let of_choice = if one_of.is_some() { "– " } else { "" };
            writeln!(
                page,
                "| {of_choice}`{}` | {} | {} |",
                field.name(),
                self.kind(field, message)?,
                in_a_cell(&self.text(about))
            )?;
        }
        Ok(())
    }

    /// What a field holds.
    fn kind(&self, field: &FieldDescriptorProto, of: &DescriptorProto) -> anyhow::Result<String> {
        let entry = of.nested_type.iter().find(|nested| {
            field.type_name().ends_with(&format!(".{}.{}", of.name(), nested.name()))
        });
        if let Some(entry) = entry {
            let [key, value] = entry.field.as_slice() else { anyhow::bail!("not a map") };
            return Ok(format!("map of {} to {}", self.kind(key, of)?, self.kind(value, of)?));
        }
        let kind = match field.r#type() {
            Type::Message | Type::Enum => self.links.to_type(field.type_name()),
            scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        Ok(match field.label() {
            Label::Repeated => format!("list of {kind}"),
            _ if field.proto3_optional() => format!("optional {kind}"),
            _ => kind,
        })
    }

    fn values(
        &self,
        page: &mut String,
        of: &EnumDescriptorProto,
        at: &[i32],
        comments: &Comments,
    ) -> anyhow::Result<()> {
        writeln!(page, "\n## {}\n\n{}", of.name(), self.text(comment(comments, at)?))?;
        writeln!(page, "\n| value | number | |\n| --- | --- | --- |")?;
        for (index, value) in (0..).zip(&of.value) {
            let about = comment(comments, &[at, &[path::PART, index]].concat())?;
            let about = in_a_cell(&self.text(about));
            writeln!(page, "| `{}` | {} | {about} |", value.name(), value.number())?;
        }
        Ok(())
    }

    /// Its part of the page that lists all calls: each with the first sentence about it.
    fn in_index(&self) -> anyhow::Result<String> {
        let mut index = format!("\n## [{0}]({0}.md)\n\n| | |\n| --- | --- |\n", self.name);
        for (service, at, comments) in self.parts(path::SERVICE, |file| &file.service) {
            for (number, method) in (0..).zip(&service.method) {
                let comment = comment(comments, &[&at, [path::PART, number].as_slice()].concat())?;
                let text = in_a_cell(&of_comment(comment));
                let first = text.split_once(". ").map_or(text.as_str(), |(first, _)| first);
                let call = format!("{}.{}", service.name(), method.name());
                let (page, anchor) = (self.name, text::anchor(&call));
                let first = first.trim_end_matches('.');
                writeln!(index, "| [{call}]({page}.md#{anchor}) | {first} |")?;
            }
        }
        Ok(index)
    }
}

fn comments(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let commented = locations.filter_map(|location| {
        location.leading_comments.clone().map(|comment| (location.path.clone(), comment))
    });
    commented.collect()
}

fn comment<'a>(comments: &'a Comments, at: &[i32]) -> anyhow::Result<&'a str> {
    let found = comments.get(at).with_context(|| format!("nothing is said about {at:?}"))?;
    Ok(found.as_str())
}
