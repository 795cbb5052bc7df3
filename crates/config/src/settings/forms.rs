//! Short forms for the rows of the table of settings.

use super::Setting;
use crate::field::{Field, Key};
use crate::server::ServerConfig;

macro_rules! int {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Int { min: $min, max: $max, get: |c| Some(c.$($field).+ as u64), set: |c, n| c.$($field).+ = n as _ }
    };
}
macro_rules! maybe_int {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Int { min: $min, max: $max, get: |c| c.$($field).+, set: |c, n| c.$($field).+ = Some(n) }
    };
}
macro_rules! bytes {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Bytes { min: $min, max: $max, get: |c| Some(c.$($field).+ as u64), set: |c, n| c.$($field).+ = n as _ }
    };
}
macro_rules! maybe_bytes {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Bytes { min: $min, max: $max, get: |c| c.$($field).+, set: |c, n| c.$($field).+ = Some(n) }
    };
}
macro_rules! duration {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Duration { min: $min, max: $max, get: |c| Some(c.$($field).+), set: |c, d| c.$($field).+ = d }
    };
}
macro_rules! path {
    ($($field:ident).+) => {
        Field::Path { get: |c| Some(c.$($field).+.clone()), set: |c, p| c.$($field).+ = p }
    };
}

pub(super) const fn setting(
    path: &'static str,
    [env, flag]: [&'static str; 2],
    field: Field<ServerConfig>,
    doc: &'static str,
) -> Setting {
    let key = Key {
        path,
        doc,
        default: None,
        example: None,
        field,
    };
    Setting { key, env, flag }
}

/// The same, with a default in words and an example for templates.
pub(super) const fn words(setting: Setting, default: &'static str, example: &'static str) -> Setting {
    let Setting { key, env, flag } = setting;
    let Key { path, doc, field, .. } = key;
    let key = Key {
        path,
        doc,
        default: Some(default),
        example: Some(example),
        field,
    };
    Setting { key, env, flag }
}
