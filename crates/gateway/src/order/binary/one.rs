//! A body that is one tensor: its elements alone, or NumPy's file.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use cresset_task::tensor::RANK_MAX;
use cresset_task::{Code, DType, Shape, Tensor, TensorSpec, npy};

use super::{check_bools, error, input, single, title};
use crate::media::{DTYPE, Media, SHAPE, sizes};
use crate::problem::Problem;
use crate::query::cut;
use crate::schema::FieldError;

/// What is known of the tensor before its bytes.
pub(super) struct One {
    media: Media,
    spec: TensorSpec,
    /// As `Cresset-Shape` says.
    shape: Option<Shape>,
}

impl One {
    /// Reads the headers; what is wrong in them goes to `errors`.
    pub(super) fn new(
        media: Media,
        spec: &TensorSpec,
        headers: &HeaderMap,
        errors: &mut Vec<FieldError>,
    ) -> Self {
        let shape = single(headers, &SHAPE)
            .and_then(|text| text.map(|t| shape(t, spec)).transpose())
            .unwrap_or_else(|message| {
                errors.push(error(title(&SHAPE), message));
                None
            });
        match single(headers, &DTYPE) {
            Ok(Some(name)) if name != spec.dtype.name().as_bytes() => {
                let name = cut(&String::from_utf8_lossy(name));
                errors.push(error(title(&DTYPE), format!("is `{name}`; {}", declared(spec))));
            }
            Ok(_) => {}
            Err(message) => errors.push(error(title(&DTYPE), message)),
        }
        Self {
            media,
            spec: spec.clone(),
            shape,
        }
    }

    /// How many of the body's bytes its reading looks at: bools are checked, everything else is taken as it is.
    pub(super) fn work(&self, body: &[u8]) -> usize {
        match self.spec.dtype {
            DType::Bool => body.len(),
            _ => 0,
        }
    }

    /// The tensor and the input that it is.
    pub(super) fn read(self, body: &Bytes) -> Result<(Arc<str>, Tensor), Problem> {
        let tensor = match self.media {
            Media::Npy => self.file(body)?,
            Media::Raw | Media::Json | Media::Safetensors => self.raw(body)?,
        };
        check_bools(&tensor).map_err(input)?;
        Ok((self.spec.name, tensor))
    }

    /// The elements alone.
    fn raw(&self, body: &Bytes) -> Result<Tensor, Problem> {
        let spec = &self.spec;
        let fixed = || {
            spec.shape
                .iter()
                .map(|size| usize::try_from(*size).ok())
                .collect()
        };
        let Some(shape) = self.shape.clone().or_else(fixed) else {
            let example: Vec<_> = spec.shape.iter().map(|n| if *n < 0 { 2 } else { *n }).collect();
            let message = format!(
                "is missing; {}, and its free sizes (-1) must be said, such as `{}: {}`",
                declared(spec),
                title(&SHAPE),
                sizes(&example),
            );
            return Err(Problem::fields(vec![error(title(&SHAPE), message)]));
        };
        let told = format!("{} is {} {shape:?}", spec.name, spec.dtype);
        let want = shape.iter().try_fold(spec.dtype.size(), |n, d| n.checked_mul(*d));
        Tensor::new(spec.dtype, shape, body.clone()).map_err(|_| {
            let want = want.map_or_else(|| "more bytes than can be".into(), |n| format!("{n} bytes"));
            input(format!("{told}: {want}, got {}", body.len()))
        })
    }

    /// NumPy's file.
    fn file(&self, body: &Bytes) -> Result<Tensor, Problem> {
        let (dtype, shape, data) = npy::parse(body).map_err(|error| {
            if error.is_sound() {
                input(format!("the .npy file cannot be taken: {error}"))
            } else {
                Problem::new(
                    Code::MalformedBody,
                    format!("the body is not a whole .npy file: {error}"),
                )
            }
        })?;
        let spec = &self.spec;
        if dtype != spec.dtype || !spec.admits(&shape) {
            return Err(input(format!(
                "the .npy file is {dtype} {shape:?}; {}",
                declared(spec)
            )));
        }
        if let Some(said) = &self.shape
            && *said != shape
        {
            return Err(input(format!(
                "the .npy file is {dtype} {shape:?}, but `{}` says {said:?}",
                title(&SHAPE)
            )));
        }
        Tensor::new(dtype, shape, data).map_err(|error| input(error.to_string()))
    }
}

/// `3,64,64`, or nothing for a scalar; it must be a shape that the declaration admits.
fn shape(text: &[u8], spec: &TensorSpec) -> Result<Shape, String> {
    let wrong = |why: &str| {
        let text = cut(&String::from_utf8_lossy(text));
        format!("is `{text}`{why}; {}", declared(spec))
    };
    let digits = |size: &str| {
        size.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| size.parse().ok())?
    };
    let read = std::str::from_utf8(text).ok().and_then(|text| match text.trim() {
        "" => Some(Shape::new()),
        text => text
            .split(',')
            .take(RANK_MAX + 1)
            .map(|size| digits(size.trim()))
            .collect(),
    });
    let shape: Shape =
        read.ok_or_else(|| wrong(", which is not sizes with commas between them, such as `3,64,64`"))?;
    if spec.admits(&shape) {
        Ok(shape)
    } else {
        Err(wrong(""))
    }
}

/// `pixels is float32 [1, 8, 8]`.
fn declared(spec: &TensorSpec) -> String {
    format!("{} is {} {:?}", spec.name, spec.dtype, spec.shape)
}
