//! A value that is made of files, and made anew when their content changes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

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
    /// Fails when a file cannot be read or `parse` refuses the files. When that happens later, it is logged, the
    /// value stays as it is, and every further look tries again: several files cannot be replaced at the same
    /// instant, and time may mend what is wrong. `look` gets the value at every look at the files, and says
    /// whether it must be made anew although they are as they were, because of the time.
    pub fn start(
        files: Vec<CredentialFile>,
        parse: impl Fn(&[Content]) -> anyhow::Result<T> + Send + 'static,
        mut look: impl FnMut(&T) -> bool + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut seen = read_all(&files)?;
        let value = parse(&seen)?;
        let mut is_stale = look(&value);
        let watched = Arc::new(ArcSwap::from_pointee(value));

        let current = Arc::downgrade(&watched);
        let mut last_error = String::new();
        let watch = move || {
            loop {
                thread::sleep(CHECK_INTERVAL);
                let Some(current) = current.upgrade() else {
                    return;
                };

                let error = match reload(&files, &mut seen, is_stale, &parse) {
                    Ok(None) => String::new(),
                    Ok(Some(value)) => {
                        current.store(Arc::new(value));
                        tracing::info!(files = names(&files), "read the files again");
                        String::new()
                    }
                    Err(error) => error.to_string(),
                };
                // Once, and not at every look.
                if !error.is_empty() && error != last_error {
                    tracing::warn!("kept what was read before: {error}");
                }
                last_error = error;

                is_stale = look(&current.load());
            }
        };

        let thread = thread::Builder::new().name("credentials".into());
        thread.spawn(watch)?;
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

/// The value that changed files make; `None` while they are as they were when the value was made, unless it is
/// stale.
fn reload<T>(
    files: &[CredentialFile],
    seen: &mut Vec<Content>,
    is_stale: bool,
    parse: impl Fn(&[Content]) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let contents = read_all(files)?;
    if contents == *seen && !is_stale {
        return Ok(None);
    }
    let value = parse(&contents)?;
    *seen = contents;
    Ok(Some(value))
}

fn read_all(files: &[CredentialFile]) -> anyhow::Result<Vec<Content>> {
    files.iter().map(CredentialFile::read).collect()
}

fn names(files: &[CredentialFile]) -> String {
    let names: Vec<_> = files.iter().map(CredentialFile::variable).collect();
    names.join(", ")
}
