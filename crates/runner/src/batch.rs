//! From a job to the frame that hands it to an instance.

use bytes::{Bytes, BytesMut};
use cresset_task::{Code, Failure, Payload, Shape, Tensor, TensorSet, TensorSpec};

use crate::layout::{REGION_MAX, place};
use crate::memfd::Outside;
use crate::pad;
use crate::slab::Slab;
use crate::wire::{Descriptor, HEADER_LEN, Header, Kind, SlotInfo, encode_descriptors, encode_items};

/// Rows are copied by this many threads at most: four saturate the memory of the machines that were measured.
const FILLERS_MAX: usize = 4;
/// What is worth a thread of its own; starting one takes as long as copying some 100 KiB.
const FILLER_BYTES: u64 = 2 << 20;

/// A batch of tensors, looked through, not yet copied.
#[derive(Debug)]
pub(crate) struct Stack {
    items: Vec<TensorSet>,
    /// For each declared input: what its stacked tensor is. The offsets count from the slot's input region.
    tensors: Vec<Descriptor>,
    /// Bytes of input region it takes.
    pub(crate) needed: u64,
}

/// Why a job cannot be handed over. The engine checks payloads before it accepts them, so all but the first are bugs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(
        "the inputs of the batch take more than the {REGION_MAX} bytes that an instance can be given at once; lower batching.max_batch_bytes or send smaller inputs"
    )]
    TooLarge,
    #[error("a model of tensors was given JSON")]
    NotTensors,
    #[error("a model of objects was given tensors")]
    NotJson,
    #[error("input `{0}` is missing from an item of the batch")]
    Missing(String),
    #[error("input `{0}` differs in type or shape within the batch, or from what model.toml says")]
    Uneven(String),
}

impl Unfit {
    pub(crate) fn failure(&self) -> Failure {
        let (code, type_) = match self {
            Self::TooLarge => (Code::InvalidInput, "BatchTooLarge"),
            _ => (Code::Internal, "UnfitBatch"),
        };
        Failure::new(code, type_, self.to_string())
    }
}

impl Stack {
    /// Looks through the items of a tensor model's batch.
    pub(crate) fn plan(specs: &[TensorSpec], items: Vec<Payload>) -> Result<Self, Unfit> {
        let items = items
            .into_iter()
            .map(|item| match item {
                Payload::Tensors(set) => Ok(set),
                Payload::Json(_) => Err(Unfit::NotTensors),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let count = items.len() as u64;
        let mut tensors = Vec::with_capacity(specs.len());
        for (at, spec) in specs.iter().enumerate() {
            let uneven = || Unfit::Uneven(spec.name.to_string());
            let mut row: Option<Shape> = None;
            for item in &items {
                let tensor = input(item, at, spec)?;
                let fits = tensor.dtype == spec.dtype
                    && spec.admits(&tensor.shape)
                    && match &mut row {
                        None => row.insert(tensor.shape.clone()).len() == tensor.shape.len(),
                        Some(row) if spec.pad.is_some() => pad::widen(row, &tensor.shape),
                        Some(row) => *row == tensor.shape,
                    };
                if !fits {
                    return Err(uneven());
                }
            }
            let row = row.ok_or_else(uneven)?;
            let dims = std::iter::once(count as i64)
                .chain(row.iter().map(|d| *d as i64))
                .collect();
            let sizes = row.iter().map(|d| *d as u64).chain([count]);
            let nbytes = sizes
                .into_iter()
                .try_fold(spec.dtype.size() as u64, u64::checked_mul)
                .ok_or(Unfit::TooLarge)?;
            tensors.push(Descriptor {
                dtype: spec.dtype,
                dims,
                offset: 0,
                nbytes,
            });
        }
        let (offsets, needed) = place(0, tensors.iter().map(|t| t.nbytes)).ok_or(Unfit::TooLarge)?;
        if needed > REGION_MAX {
            return Err(Unfit::TooLarge);
        }
        tensors
            .iter_mut()
            .zip(offsets)
            .for_each(|(tensor, offset)| tensor.offset = offset);
        Ok(Self {
            items,
            tensors,
            needed,
        })
    }

    /// Copies the items' rows into the slot's input region and gives the body of the RUN. Large batches are copied by
    /// several threads, where the machine has the cores for it.
    pub(crate) fn fill(self, specs: &[TensorSpec], slab: &Slab, slot: SlotInfo) -> Result<Bytes, Outside> {
        let threads = fillers(self.needed);
        self.fill_by(threads, specs, slab, slot)
    }

    fn fill_by(
        mut self,
        threads: usize,
        specs: &[TensorSpec],
        slab: &Slab,
        slot: SlotInfo,
    ) -> Result<Bytes, Outside> {
        for tensor in &mut self.tensors {
            tensor.offset += slot.input_offset;
        }
        let each = self.items.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let mut shares = self.items.chunks(each).enumerate();
            let first = shares.next();
            let others: Vec<_> = shares
                .map(|(n, share)| {
                    scope.spawn({
                        let tensors = &self.tensors;
                        move || copy_rows(tensors, specs, share, n * each, slab)
                    })
                })
                .collect();
            let mut done = match first {
                Some((_, share)) => copy_rows(&self.tensors, specs, share, 0, slab),
                None => Ok(()),
            };
            for other in others {
                match other.join() {
                    Ok(copied) => done = done.and(copied),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })?;
        let mut body = BytesMut::new();
        encode_descriptors(&self.tensors, &mut body);
        Ok(body.freeze())
    }

    pub(crate) fn tensors(&self) -> u16 {
        self.tensors.len() as u16
    }
}

/// How many threads copy a batch of so many bytes. Half of the cores at most: callers and models need the others.
fn fillers(bytes: u64) -> usize {
    if bytes < 2 * FILLER_BYTES {
        return 1;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worth = usize::try_from(bytes / FILLER_BYTES).unwrap_or(FILLERS_MAX);
    FILLERS_MAX.min(cores / 2).min(worth).max(1)
}

/// Copies the rows of some of a batch's items, the first of which is item `from`, to where `tensors` says that they lie.
fn copy_rows(
    tensors: &[Descriptor],
    specs: &[TensorSpec],
    items: &[TensorSet],
    from: usize,
    slab: &Slab,
) -> Result<(), Outside> {
    for (at, (tensor, spec)) in tensors.iter().zip(specs).enumerate() {
        let shape: Shape = tensor.dims.iter().skip(1).map(|d| *d as usize).collect();
        let row_len = (shape.iter().product::<usize>() * spec.dtype.size()) as u64;
        let mut to = tensor.offset + from as u64 * row_len;
        let mut padded = Vec::new();
        for item in items {
            // `plan` has found it in every item.
            let Ok(found) = input(item, at, spec) else {
                continue;
            };
            let row = match &spec.pad {
                Some(element) if found.shape != shape => {
                    pad::fill(&mut padded, &shape, found, element);
                    &padded[..]
                }
                _ => &found.data[..],
            };
            slab.write(to, row)?;
            to += row_len;
        }
    }
    Ok(())
}

/// The item's tensor for a declared input: almost always at the same place.
fn input<'a>(item: &'a TensorSet, at: usize, spec: &TensorSpec) -> Result<&'a Tensor, Unfit> {
    match item.0.get(at) {
        Some((name, tensor)) if *name == spec.name => Ok(tensor),
        _ => item
            .get(&spec.name)
            .ok_or_else(|| Unfit::Missing(spec.name.to_string())),
    }
}

/// A RUN_OBJECTS with room for its header: see [`seal`].
pub(crate) fn object_frame(items: &[Payload]) -> Result<BytesMut, Unfit> {
    let texts = items
        .iter()
        .map(|item| match item {
            Payload::Json(text) => Ok(text),
            Payload::Tensors(_) => Err(Unfit::NotJson),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut frame = BytesMut::zeroed(HEADER_LEN);
    encode_items(&texts, &mut frame).ok_or(Unfit::TooLarge)?;
    Ok(frame)
}

/// Writes the header into the room that a frame has for it.
pub(crate) fn seal(mut frame: BytesMut, header: Header) -> Bytes {
    let body_len = frame.len().saturating_sub(HEADER_LEN) as u32;
    if let Some(room) = frame.first_chunk_mut() {
        *room = Header { body_len, ..header }.encode();
    }
    frame.freeze()
}

/// A whole frame in one piece.
pub(crate) fn frame(header: &Header, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + body.len());
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(body);
    out.freeze()
}

/// A frame with a JSON body.
pub(crate) fn json_frame<T: serde::Serialize>(kind: Kind, body: &T) -> Result<Bytes, serde_json::Error> {
    let body = serde_json::to_vec(body)?;
    Ok(frame(&Header::plain(kind, body.len() as u32), &body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Regions;
    use cresset_task::DType;

    fn spec(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            allow_non_finite: false,
            pad: None,
        }
    }

    fn tensor(dtype: DType, data: &'static [u8]) -> Tensor {
        Tensor::new(dtype, vec![data.len() / dtype.size()], Bytes::from_static(data)).unwrap()
    }

    fn item(tensors: &[(&str, Tensor)]) -> Payload {
        Payload::Tensors(TensorSet(
            tensors.iter().map(|(n, t)| ((*n).into(), t.clone())).collect(),
        ))
    }

    #[test]
    fn rows_are_stacked_by_input_each_input_aligned() {
        let specs = [spec("a", DType::Uint8, &[3]), spec("b", DType::Int16, &[-1])];
        let one = item(&[
            ("a", tensor(DType::Uint8, b"abc")),
            ("b", tensor(DType::Int16, b"1234")),
        ]);
        let two = item(&[
            ("b", tensor(DType::Int16, b"5678")),
            ("a", tensor(DType::Uint8, b"def")),
        ]);
        let (slab, _fd) = Slab::create(
            Regions {
                input: 4096,
                output: 4096,
            }
            .slab(),
        )
        .unwrap();
        let slot = slab.info().slots[1];
        let stack = Stack::plan(&specs, vec![one, two]).unwrap();
        assert_eq!((stack.needed, stack.tensors()), (72, 2));
        stack.fill(&specs, &slab, slot).unwrap();
        assert_eq!(slab.read(slot.input_offset, 6).unwrap(), "abcdef");
        assert_eq!(slab.read(slot.input_offset + 64, 8).unwrap(), "12345678");
    }

    #[test]
    fn unequal_rows_are_padded_where_the_input_says_with_what() {
        let padded = TensorSpec {
            pad: Some(Bytes::from_static(&[7, 0])),
            ..spec("b", DType::Int16, &[-1])
        };
        let specs = [spec("a", DType::Uint8, &[-1]), padded];
        let of = |b| item(&[("a", tensor(DType::Uint8, b"xy")), ("b", tensor(DType::Int16, b))]);
        let (slab, _fd) = Slab::create(
            Regions {
                input: 4096,
                output: 4096,
            }
            .slab(),
        )
        .unwrap();
        let slot = slab.info().slots[0];
        for threads in 1..=4 {
            slab.write(slot.input_offset, &[0; 128]).unwrap();
            let stack = Stack::plan(&specs, vec![of(b"12"), of(b"345678"), of(b"")]).unwrap();
            assert_eq!(
                (&stack.tensors[0].dims, &stack.tensors[1].dims),
                (&vec![3, 2], &vec![3, 3])
            );
            stack.fill_by(threads, &specs, &slab, slot).unwrap();
            assert_eq!(slab.read(slot.input_offset, 6).unwrap(), "xyxyxy");
            assert_eq!(
                slab.read(slot.input_offset + 64, 18).unwrap(),
                &b"12\x07\x00\x07\x00345678\x07\x00\x07\x00\x07\x00"[..],
                "{threads} threads"
            );
        }
    }

    #[test]
    fn unfit_batches_are_refused_with_their_reason() {
        let specs = [spec("a", DType::Uint8, &[-1])];
        let good = || item(&[("a", tensor(DType::Uint8, b"abc"))]);
        let plan = |items| Stack::plan(&specs, items).map(drop);
        assert_eq!(plan(vec![Payload::Json("1".into())]), Err(Unfit::NotTensors));
        assert_eq!(plan(vec![good(), item(&[])]), Err(Unfit::Missing("a".into())));
        let longer = item(&[("a", tensor(DType::Uint8, b"abcd"))]);
        assert_eq!(plan(vec![good(), longer]), Err(Unfit::Uneven("a".into())));
        let other = item(&[("a", tensor(DType::Int8, b"abc"))]);
        assert_eq!(plan(vec![other]), Err(Unfit::Uneven("a".into())));
        assert_eq!(plan(vec![]), Err(Unfit::Uneven("a".into())));
        assert_eq!(object_frame(&[good()]).unwrap_err(), Unfit::NotJson);
    }

    #[test]
    fn a_batch_beyond_the_limit_is_refused_before_anything_is_copied() {
        let specs = [spec("a", DType::Uint8, &[-1])];
        let shared = Bytes::from(vec![0; 64 << 20]);
        let item = || {
            let tensor = Tensor::new(DType::Uint8, vec![shared.len()], shared.clone()).unwrap();
            Payload::Tensors(TensorSet(vec![("a".into(), tensor)]))
        };
        assert!(Stack::plan(&specs, (0..16).map(|_| item()).collect()).is_ok());
        let refused = Stack::plan(&specs, (0..17).map(|_| item()).collect()).unwrap_err();
        assert_eq!(
            (&refused, refused.failure().code),
            (&Unfit::TooLarge, Code::InvalidInput)
        );
    }
}
