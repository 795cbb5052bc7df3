//! Whether a kept result of an equal input will do, as a caller says it: the words of RFC 9111.

/// What a request allows a result cache to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheUse {
    /// A kept result will do, and the result may be kept.
    #[default]
    Allowed,
    /// It is computed anew (`no-cache`); the result may be kept.
    NoCache,
    /// It is computed anew and not kept (`no-store`).
    NoStore,
}

impl CacheUse {
    /// The number that a store keeps.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::NoCache => 1,
            Self::NoStore => 2,
        }
    }

    /// What is kept as this number; `None` when it is none of ours.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Allowed),
            1 => Some(Self::NoCache),
            2 => Some(Self::NoStore),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_survives_storage() {
        for what in [CacheUse::Allowed, CacheUse::NoCache, CacheUse::NoStore] {
            assert_eq!(CacheUse::from_code(what.code()), Some(what));
        }
        assert_eq!(CacheUse::from_code(3), None);
    }
}
