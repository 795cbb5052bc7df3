//! What must hold of the readers of binary forms, whatever they are given. Shared by the tests here and the fuzz target
//! (`fuzz/fuzz_targets/readers.rs`).

use bytes::Bytes;
use cresset_task::{Tensor, TensorSet, npy, safetensors};

/// Reads bytes as the form that the first of them names: `n` for `.npy`, `s` for safetensors, others for the stored form.
///
/// # Panics
///
/// When a reader does, or when what it read does not survive being written.
pub(crate) fn survive(data: &[u8]) {
    let Some((form, file)) = data.split_first() else {
        return;
    };
    let file = Bytes::copy_from_slice(file);
    match form {
        b'n' => match npy::parse(&file) {
            Ok((dtype, shape, bytes)) => {
                let tensor = Tensor::new(dtype, shape, bytes).expect("what was read is a tensor");
                let again = npy::parse(&npy::write(&tensor).expect("its type has the form").into());
                assert_eq!(again, Ok((tensor.dtype, tensor.shape, tensor.data)));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        b's' => match safetensors::parse(&file) {
            Ok(set) => {
                is_sound(&set);
                assert_eq!(
                    safetensors::parse(&safetensors::write(&set).expect("it was read").into()),
                    Ok(set)
                );
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        _ => match TensorSet::decode(&file) {
            Ok(set) => {
                is_sound(&set);
                assert_eq!(set.encode(), file, "there is one stored form of a set");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
    }
}

fn is_sound(set: &TensorSet) {
    for (name, tensor) in &set.0 {
        let Tensor { dtype, shape, data } = tensor.clone();
        assert!(Tensor::new(dtype, shape, data).is_ok(), "{name}");
    }
}
