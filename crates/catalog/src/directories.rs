//! Directories that a power cut does not take back.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates a directory and those above it that are missing, and syncs the parent of each: without that a new directory, and with it
/// all that is written into it, may be gone after a power cut.
///
/// # Errors
/// When one of them cannot be created or synced.
pub fn create_directories(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|at| !at.as_os_str().is_empty());
    let missing = missing.take_while(|at| !at.is_dir()).collect::<Vec<_>>();
    for directory in missing.iter().rev() {
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    if directory.is_dir() {
        return Ok(());
    }
    // Something else has its name.
    Err(io::ErrorKind::NotADirectory.into())
}
