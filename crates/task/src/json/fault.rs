//! A mistake on its way out of the nested arrays: each level it passes adds its index. Boxed, so that the result of
//! reading a number stays small.

use super::InputError;

/// What is wrong, and where as far as it is known yet.
#[derive(Debug)]
pub(super) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    message: String,
    /// From the innermost outward.
    indices: Vec<usize>,
    /// The input, once that is known.
    name: String,
}

impl Fault {
    #[cold]
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            message: message.into(),
            indices: Vec::new(),
            name: String::new(),
        }))
    }

    /// The fault of the element `index` of an array.
    #[cold]
    pub(super) fn at(mut self, index: usize) -> Self {
        self.0.indices.push(index);
        self
    }

    /// The fault of the input `name`.
    #[cold]
    pub(super) fn of(mut self, name: &str) -> Self {
        name.clone_into(&mut self.0.name);
        self
    }
}

impl From<Fault> for InputError {
    fn from(fault: Fault) -> Self {
        let Inner {
            message,
            indices,
            name: mut path,
        } = *fault.0;
        for index in indices.iter().rev() {
            path.push_str(&format!("[{index}]"));
        }
        Self { path, message }
    }
}
