//! Files that are read again when their contents change. Contents, not times: a secret of an
//! orchestrator is a symlink that moves, and a copy may keep its time.

use std::path::PathBuf;
use std::time::Duration;

use svc_runtime::credentials::read;
use tokio::time::{MissedTickBehavior, interval};

use crate::crypto::{self, Digest};
use crate::problem::Problem;

/// Puts the contents of files in force, or says why it cannot.
pub(crate) type Apply = Box<dyn Fn(&[Vec<u8>]) -> Result<(), Problem> + Send>;

/// Files that belong together, and what to do when one of them changed.
pub(crate) struct Watched {
    /// What they are, for the log.
    what: &'static str,
    files: Vec<(&'static str, PathBuf)>,
    /// Of the contents that were tried last, whether they could be used or not.
    seen: Option<Digest>,
    apply: Apply,
}

impl Watched {
    /// Reads the files and puts them in force for the first time.
    pub(crate) fn start(
        what: &'static str,
        files: Vec<(&'static str, PathBuf)>,
        apply: Apply,
    ) -> Result<Self, Problem> {
        let contents = contents(&files)?;
        apply(&contents)?;
        Ok(Self { what, files, seen: Some(digest(&contents)), apply })
    }

    /// Puts the files in force if they changed.
    fn look(&mut self) {
        let contents = match contents(&self.files) {
            Ok(contents) => contents,
            Err(problem) => {
                // Once: what cannot be read now is tried, not told, every time.
                if self.seen.take().is_some() {
                    tracing::warn!(%problem, "cannot read {}, what was there stays", self.what);
                }
                return;
            }
        };
        let digest = digest(&contents);
        if self.seen == Some(digest) {
            return;
        }
        self.seen = Some(digest);
        match (self.apply)(&contents) {
            Ok(()) => tracing::info!("read {} again", self.what),
            Err(problem) => {
                tracing::warn!(%problem, "cannot use the new {}, what was there stays", self.what);
            }
        }
    }
}

fn contents(files: &[(&'static str, PathBuf)]) -> Result<Vec<Vec<u8>>, Problem> {
    files.iter().map(|(flag, path)| read(flag, path)).collect()
}

fn digest(contents: &[Vec<u8>]) -> Digest {
    // Each by itself first: what moves from one file into the next is a change too.
    let each: Vec<Digest> = contents.iter().map(|bytes| crypto::sha256(&[bytes])).collect();
    crypto::sha256(&each.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
}

/// Looks at all of them every `period`, for ever.
pub(crate) async fn keep_looking(mut watched: Vec<Watched>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !watched.is_empty() {
        ticks.tick().await;
        let looked = tokio::task::spawn_blocking(move || {
            watched.iter_mut().for_each(Watched::look);
            watched
        });
        match looked.await {
            Ok(back) => watched = back,
            Err(error) => {
                tracing::error!(%error, "files are no longer watched");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn contents_are_put_in_force_when_they_change_and_can_be_used() {
        let folder = tempfile::TempDir::new().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let put = |text: [&str; 2]| {
            std::fs::write(&one, text[0]).unwrap();
            std::fs::write(&two, text[1]).unwrap();
        };
        let applied = Arc::new(Mutex::new(Vec::new()));
        let target = Arc::clone(&applied);
        let apply = Box::new(move |contents: &[Vec<u8>]| {
            let text = String::from_utf8(contents.join(&b'|')).unwrap();
            target.lock().unwrap().push(text.clone());
            if text.contains("bad") { Err(Problem::new("--one", "is bad")) } else { Ok(()) }
        });
        put(["a", "b"]);
        let files = vec![("--one", one.clone()), ("--two", two.clone())];
        let mut watched = Watched::start("files", files, apply).unwrap();
        let seen = |watched: &mut Watched| {
            watched.look();
            watched.look();
            std::mem::take(&mut *applied.lock().unwrap())
        };
        assert_eq!(seen(&mut watched), ["a|b"]);
        assert_eq!(seen(&mut watched), [""; 0]);
        put(["ab", ""]);
        assert_eq!(seen(&mut watched), ["ab|"], "moved from one into the other");
        put(["bad", ""]);
        assert_eq!(seen(&mut watched), ["bad|"], "tried once");
        std::fs::remove_file(&two).unwrap();
        assert_eq!(seen(&mut watched), [""; 0]);
        put(["ab", ""]);
        assert_eq!(seen(&mut watched), ["ab|"], "there again");
        std::fs::write(&two, vec![b'x'; 1 << 21]).unwrap();
        assert_eq!(seen(&mut watched), [""; 0], "too large to be read");
    }

    #[test]
    fn what_cannot_be_read_at_first_is_a_problem() {
        let path = Path::new("/no/such/file");
        let files = vec![("--one", path.to_owned())];
        let problem = Watched::start("files", files, Box::new(|_| Ok(()))).err().unwrap();
        assert_eq!(problem.flag, "--one");
        assert!(problem.what.contains("/no/such/file"), "{problem}");
    }
}
