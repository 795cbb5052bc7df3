//! `tracestate`: a list that tracing systems hand on to each other. Held to its form and its bounds, and never looked into.

/// More bytes are not passed on: so much every system has to take, and it is kept with every task.
pub const TRACE_STATE_MAX: usize = 512;
/// More members are none of the standard's.
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;

/// Members larger than this go first where there are too many bytes.
const LARGE_MEMBER: usize = 128;
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 256;

/// A list of members, sound, never empty and never longer than [`TRACE_STATE_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct TraceState(Box<str>);

impl TraceState {
    /// What the headers of that name say together; `None` when they say nothing, or something that is no such list. Of one that is
    /// too long whole members are left out, the large ones first, then those at the end, which are the oldest.
    #[must_use]
    pub fn read<'h>(headers: impl IntoIterator<Item = &'h [u8]>) -> Option<Self> {
        let mut members: Vec<&str> = Vec::new();
        for header in headers {
            for member in std::str::from_utf8(header).ok()?.split(',') {
                let member = member.trim_matches([' ', '\t']);
                if member.is_empty() {
                    continue;
                }
                let (key, value) = member.split_once('=')?;
                let is_new = !members.iter().any(|other| key_of(other) == key);
                if !is_key(key) || !is_value(value) || !is_new || members.len() == TRACE_STATE_MEMBERS_MAX {
                    return None;
                }
                members.push(member);
            }
        }
        while length(&members) > TRACE_STATE_MAX {
            let large = members.iter().rposition(|member| member.len() > LARGE_MEMBER);
            members.remove(large.unwrap_or(members.len().saturating_sub(1)));
        }
        (!members.is_empty()).then(|| Self(members.join(",").into()))
    }

    /// As a header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn length(members: &[&str]) -> usize {
    members
        .iter()
        .map(|member| member.len() + 1)
        .sum::<usize>()
        .saturating_sub(1)
}

fn key_of(member: &str) -> &str {
    member.split_once('=').map_or(member, |(key, _)| key)
}

/// `vendor`, or `tenant@vendor`.
fn is_key(key: &str) -> bool {
    let sound = |part: &str, digits_first: bool, max: usize| {
        let first = part.bytes().next();
        (1..=max).contains(&part.len())
            && first.is_some_and(|b| b.is_ascii_lowercase() || digits_first && b.is_ascii_digit())
            && part
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    match key.split_once('@') {
        Some((tenant, system)) => sound(tenant, true, 241) && sound(system, false, 14),
        None => sound(key, false, KEY_MAX),
    }
}

/// Visible ASCII and spaces, but for what parts members; no space at the end, as the members are trimmed.
fn is_value(value: &str) -> bool {
    (1..=VALUE_MAX).contains(&value.len())
        && value
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && !matches!(b, b',' | b'='))
}
