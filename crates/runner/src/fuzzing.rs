//! Frames as a hostile process sends them, held to what the readers promise: for fuzz/targets. Not compiled into a server.

use bytes::Bytes;
use cresset_task::Code;

use crate::wire::{
    ALIGN, HEADER_LEN, Header, ItemAnswer, Kind, Note, Ready, WireFailure, decode_answer, decode_answers,
    decode_chunks, decode_lines, decode_progress,
};

/// A header and a body. A header that is read says what was there; of a body nothing is believed that is not in it.
pub fn frame(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<HEADER_LEN>() else {
        return;
    };
    let Ok(header) = Header::decode(head) else {
        return;
    };
    assert_eq!(header.encode(), *head, "a header is read as it was written");
    let body = Bytes::copy_from_slice(body);
    match header.kind {
        Kind::Done => answer(&header, &body),
        Kind::DoneObjects => {
            if let Ok(answers) = decode_answers(&header, &body) {
                assert_eq!(answers.len(), header.batch as usize);
                let bytes: usize = answers.iter().map(|answer| text(answer).len()).sum();
                assert_eq!(bytes + 8 * answers.len(), body.len(), "every byte is somebody's");
                answers
                    .iter()
                    .for_each(|answer| failure(Kind::DoneObjects, text(answer)));
            }
        }
        Kind::Failed | Kind::Error => failure(header.kind, &body),
        Kind::Ready => drop(Ready::decode(Kind::Ready, &body)),
        Kind::Note => drop(Note::decode(Kind::Note, &body)),
        Kind::Progress => {
            for report in decode_progress(&header, &body).unwrap_or_default() {
                assert!((0.0..=1.0).contains(&report.fraction));
                assert!(report.items.iter().flatten().all(|item| *item < header.batch));
            }
        }
        Kind::Logs => {
            for line in decode_lines(&header, &body).unwrap_or_default() {
                assert!(line.items.iter().flatten().all(|item| *item < header.batch));
            }
        }
        Kind::Chunks => {
            if let Ok(chunks) = decode_chunks(&header, &body) {
                let bytes: usize = chunks.iter().map(|chunk| chunk.text.len()).sum();
                assert_eq!(
                    bytes + 12 * chunks.len() + 4,
                    body.len(),
                    "every byte is somebody's"
                );
                assert!(chunks.iter().all(|chunk| chunk.item < header.batch));
            }
        }
        _ => {}
    }
}

fn text(answer: &ItemAnswer) -> &[u8] {
    match answer {
        ItemAnswer::Result(text) | ItemAnswer::Failure(text) => text,
        ItemAnswer::Skipped => &[],
    }
}

fn answer(header: &Header, body: &Bytes) {
    let Ok(answer) = decode_answer(header, body) else {
        return;
    };
    assert_eq!(answer.tensors.len(), usize::from(header.n_tensors));
    assert!(
        answer
            .names
            .is_none_or(|names| names.len() == answer.tensors.len())
    );
    for tensor in &answer.tensors {
        let end = tensor.offset.checked_add(tensor.nbytes);
        match &answer.inline {
            Some(inline) => assert!(end.is_some_and(|end| end <= inline.len() as u64)),
            // Whether it lies within its slot is held against the slab, which is not here.
            None => assert_eq!(tensor.offset % ALIGN, 0),
        }
    }
}

/// What a process says of a failure is cut to bounds, and never claims a code that is not a model's to give.
fn failure(kind: Kind, text: &[u8]) {
    const MESSAGE_MAX: usize = 64 * 1024;
    if let Ok(failure) = WireFailure::decode(kind, text) {
        let failure = failure.into_failure();
        assert!(
            failure.message.len() <= MESSAGE_MAX,
            "{} bytes",
            failure.message.len()
        );
        assert!(Code::ALL.contains(&failure.code));
    }
}
