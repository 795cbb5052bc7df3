//! `token`: see `fuzz/targets`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cresset_fuzz_targets::token(data));
