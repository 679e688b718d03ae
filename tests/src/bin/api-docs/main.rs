//! `make api-docs`: writes the API reference in docs/api anew, from the comments of the protos that
//! this program was compiled with.

use system_tests::{api_docs, programs};

fn main() -> anyhow::Result<()> {
    let folder = programs::repository().join(api_docs::FOLDER);
    std::fs::create_dir_all(&folder)?;
    for (name, page) in api_docs::pages()? {
        std::fs::write(folder.join(name), page)?;
    }
    Ok(())
}
