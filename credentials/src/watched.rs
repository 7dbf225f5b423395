//! A value that is made of files, and made anew when their content changes.

use std::sync::Arc;
use std::time::Duration;
use std::{mem, thread};

use arc_swap::ArcSwap;

use crate::file::{Content, CredentialFile};

/// Pause between two looks at the files. The content is compared, because not every way to replace a file
/// changes its time, and no notification crosses every kind of mount.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A value that is made of files. Its clones share it, and the watch ends with the last of them.
pub struct Watched<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files, makes the value by `parse`, and starts to watch them.
    ///
    /// Fails when a file cannot be read or `parse` refuses the files. When that happens later, it is logged and
    /// the value stays as it is: several files cannot be replaced at the same instant. `look` gets the value at
    /// every look at the files.
    pub fn start(
        files: Vec<CredentialFile>,
        parse: impl Fn(&[Content]) -> anyhow::Result<T> + Send + 'static,
        mut look: impl FnMut(&T) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut seen = read_all(&files)?;
        let value = parse(&seen)?;
        look(&value);
        let watched = Arc::new(ArcSwap::from_pointee(value));

        let current = Arc::downgrade(&watched);
        let mut last_error = String::new();
        let watch = move || {
            loop {
                thread::sleep(CHECK_INTERVAL);
                let Some(current) = current.upgrade() else {
                    return;
                };
                match reload(&files, &mut seen, &parse) {
                    Ok(None) => {}
                    Ok(Some(value)) => {
                        last_error.clear();
                        current.store(Arc::new(value));
                        tracing::info!(files = names(&files), "read changed files again");
                    }
                    Err(error) => {
                        let error = error.to_string();
                        // Once, and not at every look.
                        if mem::replace(&mut last_error, error.clone()) != error {
                            tracing::warn!("kept what was read before: {error}");
                        }
                    }
                }
                look(&current.load());
            }
        };
        thread::Builder::new()
            .name("credentials".into())
            .spawn(watch)?;
        Ok(Self(watched))
    }

    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value as of now.
    pub fn current(&self) -> Arc<T> {
        self.0.load_full()
    }
}

/// The value that changed files make; `None` while they are as they were when they were last `seen`.
fn reload<T>(
    files: &[CredentialFile],
    seen: &mut Vec<Content>,
    parse: impl Fn(&[Content]) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let contents = read_all(files)?;
    if contents == *seen {
        return Ok(None);
    }
    *seen = contents;
    parse(seen).map(Some)
}

fn read_all(files: &[CredentialFile]) -> anyhow::Result<Vec<Content>> {
    files.iter().map(CredentialFile::read).collect()
}

fn names(files: &[CredentialFile]) -> String {
    let names: Vec<_> = files.iter().map(CredentialFile::variable).collect();
    names.join(", ")
}
