//! Frames made safe to read. Anybody who may publish can put into a message what the AMQP library cannot read: headers nested so
//! deep that it runs out of stack, which ends the process; text that is no UTF-8 or types that it does not know, which end the
//! connection, and the next one, as the message is delivered again. What is found of that is overwritten in place, at the same length,
//! so that the message arrives and is refused as others are.

/// Nesting of headers. Celery's own is four deep.
const DEPTH_MAX: usize = 16;
/// Classes, methods and where a header's properties begin, in AMQP 0-9-1.
const BASIC: u16 = 60;
const DELIVER: u16 = 60;
const PROPERTIES_AT: usize = 12;
/// In place of a byte that is no UTF-8.
const INSTEAD: u8 = b'?';

/// Something that a frame has no room for.
struct Short;

/// A place in a frame.
struct Cursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, count: usize) -> Result<&mut [u8], Short> {
        let end = self.at.checked_add(count).ok_or(Short)?;
        let taken = self.bytes.get_mut(self.at..end).ok_or(Short)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Short> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A text of up to 255 bytes, made UTF-8.
    fn text(&mut self) -> Result<(), Short> {
        let count = self.number(1)?;
        make_utf8(self.take(count)?);
        Ok(())
    }
}

fn make_utf8(mut bytes: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(bytes) {
        let (from, rest) = (error.valid_up_to(), bytes.len());
        let count = error.error_len().unwrap_or(rest - from);
        let Some((bad, after)) = bytes
            .get_mut(from..)
            .and_then(|rest| rest.split_at_mut_checked(count))
        else {
            return;
        };
        bad.fill(INSTEAD);
        bytes = after;
    }
}

/// The payload of a method's frame.
pub(super) fn method(payload: &mut [u8]) {
    // What is cut short is for the library to complain about, as are the frames below.
    let _ = deliver(&mut Cursor {
        bytes: payload,
        at: 0,
    });
}

fn deliver(cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let (class, method) = (cursor.number(2)?, cursor.number(2)?);
    if (class, method) != (usize::from(BASIC), usize::from(DELIVER)) {
        return Ok(());
    }
    cursor.text()?;
    // The number of the delivery, and whether it is one more.
    cursor.take(9)?;
    // The exchange and the routing key.
    cursor.text()?;
    cursor.text()
}

/// The payload of the frame that has a message's properties.
pub(super) fn properties(payload: &mut [u8]) {
    let _ = all_properties(&mut Cursor {
        bytes: payload,
        at: PROPERTIES_AT,
    });
}

fn all_properties(cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let flags = cursor.number(2)?;
    for bit in (2..16).rev() {
        if flags >> bit & 1 == 0 {
            continue;
        }
        match bit {
            13 => headers(cursor)?,
            12 | 11 => drop(cursor.take(1)?),
            6 => drop(cursor.take(8)?),
            _ => cursor.text()?,
        }
    }
    Ok(())
}

fn headers(cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let count = cursor.number(4)?;
    let table = cursor.take(count)?;
    if !is_readable(&mut Cursor { bytes: table, at: 0 }) {
        overwrite(table);
    }
    Ok(())
}

/// Whether the library can read a table, whose names it can afterwards.
fn is_readable(cursor: &mut Cursor<'_>) -> bool {
    // Where each table or array that we are in ends, and which of the two it is.
    let mut open = vec![(cursor.bytes.len(), true)];
    while let Some(&(end, is_table)) = open.last() {
        if cursor.at >= end {
            if cursor.at > end {
                return false;
            }
            open.pop();
            continue;
        }
        let inner = match entry(cursor, is_table) {
            Ok(inner) => inner,
            Err(Short) => return false,
        };
        if let Some((count, is_table)) = inner {
            if open.len() >= DEPTH_MAX || cursor.at + count > end {
                return false;
            }
            open.push((cursor.at + count, is_table));
        }
    }
    true
}

/// Passes one entry; of a table or an array only its beginning, and says how long it is.
fn entry(cursor: &mut Cursor<'_>, has_name: bool) -> Result<Option<(usize, bool)>, Short> {
    if has_name {
        cursor.text()?;
    }
    let type_ = cursor.number(1)? as u8;
    let count = match type_ {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        b'S' | b'x' => cursor.number(4)?,
        b'A' | b'F' => return Ok(Some((cursor.number(4)?, type_ == b'F'))),
        _ => return Err(Short),
    };
    cursor.take(count)?;
    Ok(None)
}

/// One entry of bytes, or of nothing, as long as the table was.
fn overwrite(table: &mut [u8]) {
    let count = table.len();
    let entry = match count {
        7.. => {
            let mut entry = vec![1, b'?', b'x'];
            entry.extend(((count - 7) as u32).to_be_bytes());
            entry
        }
        2..7 => {
            let mut entry = vec![b'?'; count];
            entry[0] = (count - 2) as u8;
            entry[count - 1] = b'V';
            entry
        }
        _ => return,
    };
    if let Some(place) = table.get_mut(..entry.len()) {
        place.copy_from_slice(&entry);
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::basic::parse_properties;
    use proptest::prelude::*;

    use super::*;

    /// A frame's payload with these headers, and a `correlation_id`.
    fn payload(table: &[u8], id: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        payload.extend((1_u16 << 13 | 1 << 10).to_be_bytes());
        payload.extend((table.len() as u32).to_be_bytes());
        payload.extend(table);
        payload.push(id.len() as u8);
        payload.extend(id);
        payload
    }

    fn nested(depth: usize) -> Vec<u8> {
        let mut inner = vec![b'V'];
        for _ in 0..depth {
            let mut array = vec![b'A'];
            array.extend((inner.len() as u32).to_be_bytes());
            array.extend(inner);
            inner = array;
        }
        [vec![1, b'a'], inner].concat()
    }

    fn tamed(table: &[u8]) -> Vec<u8> {
        let mut whole = payload(table, b"id");
        properties(&mut whole);
        assert_eq!(whole.len(), payload(table, b"id").len());
        whole[18..18 + table.len()].to_vec()
    }

    #[test]
    fn what_can_be_read_is_left_alone() {
        for table in [nested(0), nested(DEPTH_MAX - 1), Vec::new()] {
            assert_eq!(tamed(&table), table);
        }
        let all =
            b"\x01aI\0\0\0\x01\x01bS\0\0\0\x01\xff\x01ct\x01\x01dF\0\0\0\x03\x01eV\x01fD\0\0\0\0\0".to_vec();
        assert_eq!(tamed(&all), all);
    }

    #[test]
    fn what_cannot_be_read_is_overwritten_at_the_same_length() {
        for table in [
            nested(DEPTH_MAX),
            nested(20_000),
            b"\x01a?".to_vec(),
            b"\x01aS\0\0\xff\xffx".to_vec(),
            b"\x01aA\0\0\0\x09V".to_vec(),
            b"\x09a".to_vec(),
        ] {
            let table = tamed(&table);
            assert!(
                is_readable(&mut Cursor {
                    bytes: &mut table.clone(),
                    at: 0
                }),
                "{table:?}"
            );
        }
    }

    #[test]
    fn text_becomes_utf8() {
        let mut whole = payload(b"\x02\xffaV", b"\xc3");
        properties(&mut whole);
        assert_eq!(whole, payload(b"\x02?aV", b"?"));
        let mut bytes = "a\u{e9}b".as_bytes().to_vec();
        bytes.extend([0xe9, b'c', 0xf0, 0x9f]);
        make_utf8(&mut bytes);
        assert_eq!(bytes, "a\u{e9}b?c??".as_bytes());
        let mut delivered = b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\0\x01\xff\x01q".to_vec();
        method(&mut delivered);
        assert_eq!(delivered, b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\0\x01?\x01q");
    }

    /// What may be in a table: names, types, lengths that fit now and then, and anything.
    fn entries() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(b"V".to_vec()),
            Just(b"t\x01".to_vec()),
            Just(b"U\0\x01".to_vec()),
            Just(b"D\0\0\0\0\x01".to_vec()),
            prop::collection::vec(any::<u8>(), 0..9),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|text| [
                &b"S\0\0\0"[..],
                &[text.len() as u8],
                &text
            ]
            .concat()),
        ];
        let value = leaf.prop_recursive(20, 60, 3, |inner| {
            let array = prop::collection::vec(inner.clone(), 0..3).prop_map(|items| (b'A', items.concat()));
            let table = prop::collection::vec(inner, 0..3)
                .prop_map(|items| (b'F', items.iter().flat_map(|item| named(b"\xe9", item)).collect()));
            prop_oneof![array, table].prop_map(|(type_, content): (u8, Vec<u8>)| {
                [&[type_][..], &(content.len() as u32).to_be_bytes(), &content].concat()
            })
        });
        prop::collection::vec((prop::collection::vec(any::<u8>(), 0..4), value), 0..4).prop_map(|fields| {
            fields
                .iter()
                .flat_map(|(name, value)| named(name, value))
                .collect()
        })
    }

    fn named(name: &[u8], value: &[u8]) -> Vec<u8> {
        [&[name.len() as u8], name, value].concat()
    }

    proptest! {
        #[test]
        fn the_library_reads_whatever_was_made_safe(
            table in entries(),
            id in prop::collection::vec(any::<u8>(), 0..9),
            wrong in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut table = table;
            if let (Some((at, byte)), false) = (wrong, table.is_empty()) {
                let at = at.index(table.len());
                table[at] = byte;
            }
            // No table of one byte can be read; a broker that reads headers itself lets none through.
            prop_assume!(table.len() != 1);
            let before = payload(&table, &id);
            let mut after = before.clone();
            properties(&mut after);
            let (rest, _) = parse_properties(&after[PROPERTIES_AT..]).unwrap();
            prop_assert!(rest.is_empty());
            // Too short to be nested too deep.
            if parse_properties(&before[PROPERTIES_AT..]).is_ok() && table.len() < DEPTH_MAX * 5 {
                prop_assert_eq!(after, before);
            }
        }
    }

    #[test]
    fn nothing_makes_it_panic() {
        let whole = payload(&nested(3), b"id");
        for end in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut cut = whole[..end].to_vec();
                cut.push(byte);
                properties(&mut cut.clone());
                method(&mut cut);
            }
        }
    }
}
