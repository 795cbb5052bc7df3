//! Walks nested JSON arrays along a declared shape and puts each element into a sink.

use std::sync::Arc;

use bytes::Bytes;

use super::fault::Fault;
use super::number::{Bfloat16, Bool, Element, Float16};
use super::scan::Scan;
use super::{InputError, TENSOR_BYTES_MAX};
use crate::dtype::DType;
use crate::tensor::{RANK_MAX, Shape, Tensor, TensorSet, TensorSpec};

/// Where elements go.
pub(super) trait Sink {
    /// Room for about this many bytes will be needed.
    fn expect(&mut self, _bytes: usize) {}
    /// Appends one element; false when there is no room.
    fn put(&mut self, element: impl AsRef<[u8]>) -> bool;
}

impl Sink for Vec<u8> {
    fn expect(&mut self, bytes: usize) {
        self.reserve_exact(bytes);
    }

    #[inline(always)]
    fn put(&mut self, element: impl AsRef<[u8]>) -> bool {
        let element = element.as_ref();
        let fits = self.len() + element.len() <= TENSOR_BYTES_MAX;
        if fits {
            self.extend_from_slice(element);
        }
        fits
    }
}

/// A row of fixed length.
pub(super) struct RowSink<'r> {
    row: &'r mut [u8],
    at: usize,
}

impl<'r> RowSink<'r> {
    pub(super) fn new(row: &'r mut [u8]) -> Self {
        Self { row, at: 0 }
    }

    pub(super) fn written(&self) -> usize {
        self.at
    }
}

impl Sink for RowSink<'_> {
    #[inline(always)]
    fn put(&mut self, element: impl AsRef<[u8]>) -> bool {
        let element = element.as_ref();
        match self.row.get_mut(self.at..self.at + element.len()) {
            Some(place) => {
                place.copy_from_slice(element);
                self.at += element.len();
                true
            }
            None => false,
        }
    }
}

/// A whole JSON text that is one tensor. Gives its shape.
pub(super) fn read_one(json: &[u8], spec: &TensorSpec, sink: &mut impl Sink) -> Result<Shape, InputError> {
    let mut scan = Scan::new(json);
    let shape = read_tensor(&mut scan, json.len(), spec, sink)?;
    scan.end()?;
    Ok(shape)
}

/// A whole JSON text that has all inputs.
pub(super) fn read_inputs(json: &[u8], specs: &[TensorSpec]) -> Result<TensorSet, Fault> {
    let mut scan = Scan::new(json);
    let set = inputs(&mut scan, json.len(), specs)?;
    scan.end()?;
    Ok(set)
}

/// The value at the start of a JSON text, which has all inputs; and how many bytes it takes.
pub(super) fn read_first_inputs(json: &[u8], specs: &[TensorSpec]) -> Result<(TensorSet, usize), Fault> {
    let mut scan = Scan::new(json);
    let set = inputs(&mut scan, json.len(), specs)?;
    Ok((set, scan.at()))
}

fn inputs(scan: &mut Scan<'_>, len: usize, specs: &[TensorSpec]) -> Result<TensorSet, Fault> {
    scan.skip_space();
    Ok(TensorSet(match specs {
        [spec] if scan.peek() != b'{' => vec![(Arc::clone(&spec.name), tensor(scan, len, spec)?)],
        _ => read_object(scan, len, specs)?,
    }))
}

fn read_object(
    scan: &mut Scan<'_>,
    len: usize,
    specs: &[TensorSpec],
) -> Result<Vec<(Arc<str>, Tensor)>, Fault> {
    if scan.peek() != b'{' {
        return Err(scan.wrong_kind(&format!("an object with {}", names(specs))));
    }
    scan.bump();
    let mut found: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    scan.skip_space();
    if scan.peek() == b'}' {
        scan.bump();
    } else {
        loop {
            scan.skip_space();
            let name = scan.string()?;
            scan.skip_space();
            if scan.peek() != b':' {
                return Err(scan.unexpected("`:`"));
            }
            scan.bump();
            let Some(which) = specs.iter().position(|spec| *spec.name == *name) else {
                return Err(unknown(&name, specs));
            };
            if found[which].is_some() {
                return Err(Fault::new("is given twice").of(&name));
            }
            found[which] = Some(tensor(scan, len, &specs[which]).map_err(|fault| fault.of(&name))?);
            scan.skip_space();
            match scan.peek() {
                b',' => scan.bump(),
                b'}' => {
                    scan.bump();
                    break;
                }
                _ => return Err(scan.unexpected("`,` or `}`")),
            }
        }
    }
    let mut set = Vec::with_capacity(specs.len());
    for (spec, tensor) in specs.iter().zip(found) {
        let Some(tensor) = tensor else {
            return Err(Fault::new(format!("is missing; must be {}", wanted(spec, 0))).of(&spec.name));
        };
        set.push((Arc::clone(&spec.name), tensor));
    }
    Ok(set)
}

fn tensor(scan: &mut Scan<'_>, len: usize, spec: &TensorSpec) -> Result<Tensor, Fault> {
    let mut data = Vec::new();
    let shape = read_tensor(scan, len, spec, &mut data)?;
    Ok(Tensor {
        dtype: spec.dtype,
        shape,
        data: Bytes::from(data),
    })
}

/// The tensor that comes next, in a text of `len` bytes.
fn read_tensor(
    scan: &mut Scan<'_>,
    len: usize,
    spec: &TensorSpec,
    sink: &mut impl Sink,
) -> Result<Shape, Fault> {
    let rank = spec.shape.len();
    if rank > RANK_MAX {
        return Err(Fault::new(format!(
            "is declared with {rank} dimensions; at most {RANK_MAX} are possible"
        )));
    }
    // An element is at least a digit and a comma: a short text must not make us reserve for a large declaration.
    let most = (len / 2 + 1).saturating_mul(spec.dtype.size());
    sink.expect(spec.fixed_bytes().unwrap_or(0).min(most));
    let mut sizes = [None; RANK_MAX];
    for (size, declared) in sizes.iter_mut().zip(&spec.shape) {
        *size = usize::try_from(*declared).ok();
    }
    let mut walk = Walk {
        scan,
        sink,
        spec,
        sizes,
    };
    match spec.dtype {
        DType::Bool => walk.level::<Bool>(0),
        DType::Uint8 => walk.level::<u8>(0),
        DType::Int8 => walk.level::<i8>(0),
        DType::Int16 => walk.level::<i16>(0),
        DType::Int32 => walk.level::<i32>(0),
        DType::Int64 => walk.level::<i64>(0),
        DType::Float16 => walk.level::<Float16>(0),
        DType::Bfloat16 => walk.level::<Bfloat16>(0),
        DType::Float32 => walk.level::<f32>(0),
        DType::Float64 => walk.level::<f64>(0),
        DType::Uint16 => walk.level::<u16>(0),
        DType::Uint32 => walk.level::<u32>(0),
        DType::Uint64 => walk.level::<u64>(0),
    }?;
    // A free size that was never seen lies inside an empty array.
    Ok(walk.sizes[..rank].iter().map(|size| size.unwrap_or(0)).collect())
}

struct Walk<'w, 'a, S> {
    scan: &'w mut Scan<'a>,
    sink: &'w mut S,
    spec: &'w TensorSpec,
    /// The size along each dimension: as declared, or as the first array there had it.
    sizes: [Option<usize>; RANK_MAX],
}

impl<S: Sink> Walk<'_, '_, S> {
    /// An array of dimension `depth` and all in it, or an element. The recursion ends at the rank, which is bounded.
    fn level<E: Element>(&mut self, depth: usize) -> Result<(), Fault> {
        let rank = self.spec.shape.len();
        if depth == rank {
            return self.element::<E>();
        }
        self.scan.skip_space();
        if self.scan.peek() != b'[' {
            return Err(self.scan.wrong_kind(&wanted(self.spec, depth)));
        }
        self.scan.bump();
        self.scan.skip_space();
        let mut count = 0;
        if self.scan.peek() == b']' {
            self.scan.bump();
        } else {
            let innermost = depth + 1 == rank;
            loop {
                if self.sizes[depth] == Some(count) {
                    let rest = self.scan.count_rest();
                    return Err(self.wrong_size(depth, count, rest));
                }
                let inside = if innermost {
                    self.element::<E>()
                } else {
                    self.level::<E>(depth + 1)
                };
                if let Err(fault) = inside {
                    return Err(fault.at(count));
                }
                count += 1;
                self.scan.skip_space();
                match self.scan.peek() {
                    b',' => self.scan.bump(),
                    b']' => {
                        self.scan.bump();
                        break;
                    }
                    _ => return Err(self.scan.unexpected("`,` or `]`").at(count - 1)),
                }
            }
        }
        match self.sizes[depth] {
            Some(size) if size != count => Err(self.wrong_size(depth, count, Some(0))),
            _ => {
                self.sizes[depth] = Some(count);
                Ok(())
            }
        }
    }

    #[inline(always)]
    fn element<E: Element>(&mut self) -> Result<(), Fault> {
        self.scan.skip_space();
        let first = self.scan.peek();
        match E::read(self.scan) {
            Ok(bytes) if self.sink.put(bytes) => Ok(()),
            Ok(_) => Err(Fault::new("there is no room for so many elements")),
            Err(_) if first == b'[' => {
                let dims = show_shape(self.spec);
                Err(Fault::new(format!(
                    "must be {}, is an array; the shape is {dims}",
                    what(self.spec.dtype)
                )))
            }
            Err(fault) => Err(fault),
        }
    }

    /// An array of dimension `depth` has `count` elements and `rest` more (`None`: that cannot be told).
    #[cold]
    fn wrong_size(&self, depth: usize, count: usize, rest: Option<usize>) -> Fault {
        let want = self.sizes[depth].unwrap_or(0);
        let has = rest.map_or_else(|| "more".to_owned(), |rest| (count + rest).to_string());
        Fault::new(if self.spec.shape[depth] < 0 {
            format!("is ragged: has {has} elements where the array before it has {want}")
        } else {
            format!(
                "must have {want} elements, has {has}; the shape is {}",
                show_shape(self.spec)
            )
        })
    }
}

fn what(dtype: DType) -> &'static str {
    if dtype == DType::Bool {
        "true or false"
    } else {
        "a number"
    }
}

/// What must stand at dimension `depth`, in words.
fn wanted(spec: &TensorSpec, depth: usize) -> String {
    match spec.shape.get(depth) {
        None => what(spec.dtype).into(),
        Some(size) if *size < 0 => format!("an array (the shape is {})", show_shape(spec)),
        Some(size) => format!("an array of {size} (the shape is {})", show_shape(spec)),
    }
}

fn show_shape(spec: &TensorSpec) -> String {
    format!("{:?}", spec.shape)
}

fn names(specs: &[TensorSpec]) -> String {
    specs
        .iter()
        .map(|spec| format!("\"{}\"", spec.name))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cold]
fn unknown(name: &str, specs: &[TensorSpec]) -> Fault {
    /// The longest unknown name that a message repeats and that is compared with the known ones, in characters.
    const SHOWN_MAX: usize = 128;
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    let near = specs
        .iter()
        .map(|spec| (strsim::damerau_levenshtein(&shown, &spec.name), &spec.name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3);
    let message = match near {
        Some((_, near)) => format!("no such input; did you mean \"{near}\"?"),
        None if specs.is_empty() => "no such input; the model declares none".into(),
        None => format!("no such input; the inputs are {}", names(specs)),
    };
    Fault::new(message).of(&shown)
}
