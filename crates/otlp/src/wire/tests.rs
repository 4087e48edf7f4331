use proptest::prelude::*;

use super::*;

fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut out = Vec::new();
    while let Some(field) = reader.next()? {
        out.push(field);
    }
    Ok(out)
}

#[test]
fn reads_every_wire_type() {
    let bytes = [
        0x08, 0x96, 0x01, // 1: varint 150
        0x11, 1, 0, 0, 0, 0, 0, 0, 0, // 2: fixed64 1
        0x1a, 3, b'a', b'b', b'c', // 3: "abc"
        0x25, 7, 0, 0, 0, // 4: fixed32 7
        0x82, 0x01, 1, b'x', // 16: "x"
    ];
    assert_eq!(
        fields(&bytes).unwrap(),
        vec![
            (1, Value::Varint(150)),
            (2, Value::Fixed64(1)),
            (3, Value::Bytes(b"abc")),
            (4, Value::Fixed32(7)),
            (16, Value::Bytes(b"x")),
        ]
    );
}

#[test]
fn varints_of_every_length() {
    for shift in 0..64 {
        for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
            let mut bytes = vec![0x08];
            prost::encoding::encode_varint(value, &mut bytes);
            assert_eq!(fields(&bytes).unwrap(), vec![(1, Value::Varint(value))]);
        }
    }
    // Padded with zero groups: legal, if wasteful.
    assert_eq!(fields(&[0x08, 0x81, 0x80, 0x00]).unwrap(), vec![(1, Value::Varint(1))]);
}

#[test]
fn malformed_bytes_name_the_offset() {
    let cases: &[(&[u8], WireError)] = &[
        (&[0x08], WireError::Truncated { offset: 1 }),
        (&[0x08, 0x80], WireError::Truncated { offset: 1 }),
        (&[0x80], WireError::Truncated { offset: 0 }),
        (&[0x08, 1, 0x11, 0], WireError::Truncated { offset: 3 }),
        (&[0x0d, 0, 0, 0], WireError::Truncated { offset: 1 }),
        (
            &[0x0a, 5, 1],
            WireError::LengthOverflow {
                offset: 2,
                length: 5,
                available: 1,
            },
        ),
        (
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            WireError::LengthOverflow {
                offset: 11,
                length: u64::MAX,
                available: 0,
            },
        ),
        (
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            WireError::VarintTooLong { offset: 1 },
        ),
        (
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            WireError::VarintTooLong { offset: 1 },
        ),
        (&[0x00], WireError::InvalidTag { offset: 0, tag: 0 }),
        (&[0x02, 0], WireError::InvalidTag { offset: 0, tag: 2 }),
        (&[0x0e], WireError::InvalidTag { offset: 1, tag: 0x0e }),
        (&[0x0c], WireError::UnmatchedEndGroup { offset: 1 }),
        (&[0x0b, 0x14], WireError::UnmatchedEndGroup { offset: 1 }),
        (&[0x0b, 0x08, 1], WireError::Truncated { offset: 3 }),
    ];
    for (bytes, want) in cases {
        assert_eq!(fields(bytes).unwrap_err(), *want, "{bytes:02x?}");
    }
}

#[test]
fn groups_are_skipped_up_to_a_depth() {
    // 1: { 2: 5, 3: "x", 4: { } }, then 1: 7
    let bytes = [0x0b, 0x10, 5, 0x1a, 1, b'x', 0x23, 0x24, 0x0c, 0x08, 7];
    assert_eq!(fields(&bytes).unwrap(), vec![(1, Value::Varint(7))]);
    let deep = vec![0x0b; 100_000];
    assert!(matches!(fields(&deep), Err(WireError::GroupTooDeep { limit: 100, .. })));
}

#[test]
fn values_refuse_another_wire_type() {
    let varint = Value::Varint(u64::MAX);
    assert_eq!(
        varint.bytes().unwrap_err().to_string(),
        "malformed protobuf: expected a length-delimited field, found varint"
    );
    assert!(varint.fixed64().is_err() && varint.fixed32().is_err() && varint.f64().is_err());
    assert!(Value::Bytes(b"").varint().is_err() && Value::Fixed32(0).bool().is_err());
    assert_eq!(varint.int64(), Ok(-1));
    assert_eq!(varint.int32(), Ok(-1));
    assert_eq!(varint.sint64(), Ok(i64::MIN));
    assert_eq!(varint.sint32(), Ok(i32::MIN));
    assert_eq!(Value::Varint(3).sint32(), Ok(-2));
    assert_eq!(Value::Varint(4).sint64(), Ok(2));
    assert_eq!(varint.bool(), Ok(true));
    assert_eq!(Value::Fixed64(1.5f64.to_bits()).f64(), Ok(1.5));
}

#[test]
fn packed_lists_in_both_forms() {
    let mut bytes = 1.5f64.to_le_bytes().to_vec();
    bytes.extend(f64::INFINITY.to_le_bytes());
    let doubles = Value::Bytes(&bytes).packed_doubles().unwrap();
    assert_eq!(doubles.len(), 2);
    assert_eq!(doubles.collect::<Vec<_>>(), [1.5, f64::INFINITY]);
    assert_eq!(Value::Fixed64(9).packed_fixed64().unwrap().collect::<Vec<_>>(), [9]);
    assert_eq!(
        Value::Bytes(&[0; 9]).packed_fixed64().unwrap_err(),
        WireError::PackedLength { length: 9, width: 8 }
    );
    let varints: Result<Vec<_>, _> = Value::Bytes(&[1, 0x96, 1]).packed_varints().unwrap().collect();
    assert_eq!(varints.unwrap(), [1, 150]);
    let single: Result<Vec<_>, _> = Value::Varint(8).packed_varints().unwrap().collect();
    assert_eq!(single.unwrap(), [8]);
    let broken: Vec<_> = Value::Bytes(&[1, 0x80]).packed_varints().unwrap().collect();
    assert_eq!(broken, [Ok(1), Err(WireError::Truncated { offset: 1 })]);
    assert!(Value::Varint(0).packed_doubles().is_err());
    assert!(Value::Fixed32(0).packed_varints().is_err());
}

proptest! {
    #[test]
    fn any_bytes_end_in_fields_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        let mut steps = 0;
        while let Ok(Some((field, value))) = reader.next() {
            prop_assert!(field > 0);
            if let Ok(varints) = value.packed_varints() {
                prop_assert!(varints.count() <= bytes.len() + 1);
            }
            steps += 1;
            prop_assert!(steps <= bytes.len());
        }
    }
}
