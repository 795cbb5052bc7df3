//! The readers of binary forms. None may panic; what one reads, it must write and read again as the same; and the reader
//! of safetensors is held to the format's own library.
//!
//! The first byte chooses the reader, by a letter: `n` for `.npy`, `s` for safetensors, others for the stored form.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;

use cresset_task::safetensors::SafetensorsError;

#[path = "../../crates/task/tests/readers/oracle.rs"]
mod oracle;

fuzz_target!(|data: &[u8]| {
    oracle::survive(data);
    if let [b's', file @ ..] = data {
        agree(&Bytes::copy_from_slice(file));
    }
});

/// What we read, the library reads too, and as the same. What it reads and we do not, we have a reason for.
fn agree(file: &Bytes) {
    let theirs = SafeTensors::deserialize(file);
    match (cresset_task::safetensors::parse(file), theirs) {
        (Ok(set), Ok(theirs)) => {
            assert_eq!(set.0.len(), theirs.len());
            for (name, tensor) in &set.0 {
                let view = theirs.tensor(name).expect("it has the same names");
                assert_eq!(
                    (&*tensor.shape, &tensor.data[..]),
                    (view.shape(), view.data()),
                    "{name}"
                );
            }
        }
        (Ok(set), Err(error)) => panic!("we read {set:?}, the library refuses it: {error}"),
        // Two of one name, types and dimensions that we have not, a header that is longer than ours may be or says more.
        (
            Err(
                SafetensorsError::Twice { .. }
                | SafetensorsError::ElementType { .. }
                | SafetensorsError::Rank { .. }
                | SafetensorsError::HeaderTooLong(_)
                | SafetensorsError::Header { .. },
            ),
            Ok(_),
        ) => {}
        // The library keeps one of two tensors of one name, and so may miss that they overlap; and it lets a size of 0
        // make up for others that cannot be counted.
        (Err(error), Ok(theirs)) => assert!(
            is_repeated(file, theirs.len()) || theirs.iter().any(|(_, view)| is_uncountable(view.shape())),
            "the library reads it, we do not: {error}"
        ),
        (Err(_), Err(_)) => {}
    }
}

/// True when the header names more tensors than the library made of it.
fn is_repeated(file: &Bytes, len: usize) -> bool {
    let text = String::from_utf8_lossy(file);
    text.matches("data_offsets").count() > len
}

/// True when a shape's bytes cannot be counted from its first size on, for the largest elements.
fn is_uncountable(shape: &[usize]) -> bool {
    shape
        .iter()
        .try_fold(8_usize, |bytes, size| bytes.checked_mul(*size))
        .is_none()
}
