//! What a payload file is called: `ab/<task id>.<in|out>.<run>-<number>`.
//!
//! The task id leads an operator from file to task and back, and a sweep to the row that may need the file. The run and the
//! number make the name unlike any other that ever was, so nothing is ever written over: two submits of one id, two ends
//! of one attempt, a retry after an error each have a file of their own, and the row that is committed names the one that
//! counts. The names are on disk: their form never changes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use cresset_task::TaskId;

/// Which payload of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// What it was submitted with.
    Input,
    /// How it ended.
    Outcome,
}

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Input => "in",
            Self::Outcome => "out",
        }
    }
}

/// One opening of the store: a number by chance, so that a restored backup does not count on where another run counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run(pub(crate) u64);

/// The name of a payload file, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileName {
    pub(crate) id: TaskId,
    pub(crate) part: Part,
    /// Who wrote it.
    pub(crate) run: Run,
    /// The how-manieth file of that run.
    pub(crate) number: u64,
}

/// The last of the folders that the files are spread over, so that none grows too long to list.
pub(crate) const SHARD_LAST: u8 = u8::MAX;

/// The name of a folder.
pub(crate) fn shard_name(shard: u8) -> String {
    format!("{shard:02x}")
}

impl FileName {
    /// Its folder, by the id's last byte: the first ones are time, and alike.
    pub(crate) fn shard(&self) -> u8 {
        self.id.as_bytes()[15]
    }

    /// The path below the payload folder.
    pub(crate) fn path(&self) -> PathBuf {
        [shard_name(self.shard()), self.to_string()].iter().collect()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            part,
            run,
            number,
        } = self;
        write!(f, "{id}.{}.{:016x}-{number:x}", part.word(), run.0)
    }
}

/// The text is not the name of a payload file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOurs;

impl FromStr for FileName {
    type Err = NotOurs;

    /// Takes exactly what [`Display`](fmt::Display) writes, so that a name leads to one path and nowhere else.
    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let mut fields = text.split('.');
        let mut field = || fields.next().ok_or(NotOurs);
        let (id, part, made) = (field()?, field()?, field()?);
        let (run, number) = made.split_once('-').ok_or(NotOurs)?;
        let hexadecimal = |digits| u64::from_str_radix(digits, 16).map_err(|_| NotOurs);
        let name = Self {
            id: id.parse().map_err(|_| NotOurs)?,
            part: match part {
                "in" => Part::Input,
                "out" => Part::Outcome,
                _ => return Err(NotOurs),
            },
            run: Run(hexadecimal(run)?),
            number: hexadecimal(number)?,
        };
        if name.to_string() == text {
            Ok(name)
        } else {
            Err(NotOurs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_like_this_and_read_back() {
        let name = FileName {
            id: TaskId::from_bytes(0xab_u128.to_be_bytes()),
            part: Part::Outcome,
            run: Run(0x1f),
            number: 26,
        };
        let text = "00000000-0000-0000-0000-0000000000ab.out.000000000000001f-1a";
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
        assert_eq!(name.path(), PathBuf::from("ab").join(text));
    }

    #[test]
    fn other_texts_are_no_names() {
        let good = "00000000-0000-0000-0000-0000000000ab.in.000000000000001f-1a";
        assert!(good.parse::<FileName>().is_ok());
        for bad in [
            "",
            "notes.txt",
            "../../etc/passwd",
            &good.to_uppercase(),
            &good.replace(".in.", ".up."),
            &good.replace("-1a", "-01a"),
            &good.replace("-1a", "-+1a"),
            &good.replace("-1a", "-../1a"),
            &format!("{good}.bak"),
            &format!("{good}/x"),
            &good.replace('-', ""),
        ] {
            assert_eq!(bad.parse::<FileName>(), Err(NotOurs), "{bad:?}");
        }
    }
}
