//! Where a row keeps a payload: in itself, or in a file that it names.

use bytes::Bytes;
use cresset_queue::kit::Stored;
use cresset_task::TaskId;
use rusqlite::{Row, ToSql};

use crate::error::StoreError;
use crate::files::{FileRef, Files, NewFile, Part};

/// A payload or an outcome on its way into a row.
#[derive(Debug)]
pub(crate) enum Kept {
    Row(Stored),
    File { kind: u8, file: NewFile },
}

impl From<Stored> for Kept {
    fn from(stored: Stored) -> Self {
        Self::Row(stored)
    }
}

impl Kept {
    /// Bytes it brings into the transaction.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Row(stored) => stored.bytes.len(),
            Self::File { .. } => 0,
        }
    }

    /// Its row is committed.
    pub(crate) fn keep(self) {
        if let Self::File { file, .. } = self {
            file.keep();
        }
    }

    /// Hands `insert` what the columns `kind, bytes, file, length, checksum` take.
    pub(crate) fn with_columns<T>(&self, insert: impl FnOnce([&dyn ToSql; 5]) -> T) -> T {
        match self {
            Self::Row(Stored { kind, bytes }) => {
                let absent = rusqlite::types::Null;
                insert([kind, &&bytes[..], &absent, &absent, &absent])
            }
            Self::File { kind, file } => {
                let FileRef {
                    name,
                    length,
                    checksum,
                } = file.reference();
                // SQLite's numbers are signed; the same 64 bits come back out.
                let (length, checksum) = (length.cast_signed(), checksum.cast_signed());
                insert([kind, &&b""[..], &name.to_string(), &length, &checksum])
            }
        }
    }
}

/// A payload or an outcome as a row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Row(Stored),
    File {
        kind: u8,
        file: FileRef,
    },
    /// The row names a file as this program never does.
    Misnamed,
}

impl Found {
    /// From the columns `kind, bytes, file, length, checksum`, the first of which is number `first`; `None` when there is no
    /// such row.
    pub(crate) fn read(
        row: &Row<'_>,
        first: usize,
        id: TaskId,
        part: Part,
    ) -> rusqlite::Result<Option<Self>> {
        let Some(kind) = row.get::<_, Option<u8>>(first)? else {
            return Ok(None);
        };
        let Some(name) = row.get_ref(first + 2)?.as_str_or_null()? else {
            let bytes = Bytes::copy_from_slice(row.get_ref(first + 1)?.as_blob()?);
            return Ok(Some(Self::Row(Stored { kind, bytes })));
        };
        let size = (
            row.get::<_, Option<i64>>(first + 3)?,
            row.get::<_, Option<i64>>(first + 4)?,
        );
        let name = name
            .parse()
            .ok()
            .filter(|name: &crate::files::FileName| name.id == id && name.part == part);
        Ok(Some(match (name, size) {
            (Some(name), (Some(length), Some(checksum))) => Self::File {
                kind,
                file: FileRef {
                    name,
                    length: length.cast_unsigned(),
                    checksum: checksum.cast_unsigned(),
                },
            },
            _ => Self::Misnamed,
        }))
    }

    /// The bytes, from the file if that is where they are; blocks on it then.
    pub(crate) fn load(self, files: &Files) -> Result<Stored, StoreError> {
        match self {
            Self::Row(stored) => Ok(stored),
            Self::File { kind, file } => Ok(Stored {
                kind,
                bytes: files.read(&file)?,
            }),
            Self::Misnamed => Err(misnamed()),
        }
    }
}

pub(crate) fn misnamed() -> StoreError {
    StoreError::Damaged("its row names no payload file of its own".into())
}
