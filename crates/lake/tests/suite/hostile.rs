//! Objects that are not what was written: errors, or other rows where the catalog vouches for them, and no panic.

use std::cell::Cell;
use std::sync::Arc;

use lake::part::{Chunks, index};
use lake::segment::{self, Rows, decode_slice};
use lake::{LakeError, PartFile, RowReader};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use schema::Dataset;
use schema::sparse::SparseBatch;
use testkit::fuzz::{self, Source};
use xxhash_rust::xxh3::xxh3_64;

use crate::fixture::*;
use crate::rows::random_batch;

fn slice_of(dataset: Dataset) -> Vec<u8> {
    let batch = random_batch(dataset, 5, 60, NOON, NOON + SECOND);
    let rows = Rows {
        tenant: tenant("a"),
        dataset,
        batch: SparseBatch::from_dense(&batch).unwrap(),
    };
    let encoded = segment::encode(&[rows]).unwrap();
    let slice = &encoded.slices[0];
    encoded.bytes[slice.offset as usize..(slice.offset + slice.length) as usize].to_vec()
}

/// Whatever happens to a slice in the store, its checksum tells.
#[test]
fn mutated_slices_are_errors() {
    for slice in Dataset::ALL.map(slice_of) {
        let checksum = xxh3_64(&slice) as i64;
        fuzz::run(std::slice::from_ref(&slice), 400, |bytes| {
            let read = decode_slice(bytes, checksum, "mutated");
            assert_eq!(read.is_ok(), bytes == slice);
        });
    }
}

/// A slice for which a checksum vouches wrongly is damage, or rows that can be used as others are.
fn vouched(bytes: &[u8]) -> bool {
    match decode_slice(bytes, xxh3_64(bytes) as i64, "mutated") {
        Ok(batch) => {
            let _ = segment::time_range(Dataset::Spans, &batch);
            let dense = batch.to_dense();
            assert!(dense.is_err() || dense.unwrap().num_rows() == batch.num_rows());
            true
        }
        Err(LakeError::Damaged { path, .. }) => {
            assert_eq!(path, "mutated");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Frames and, inside of frames that are right, streams of Arrow: what the checksum keeps from the other test.
#[test]
fn mutated_contents_of_slices_are_errors_or_rows() {
    let (read, refused) = (Cell::new(0), Cell::new(0));
    let count = |bytes: &[u8]| {
        let counter = if vouched(bytes) { &read } else { &refused };
        counter.set(counter.get() + 1);
    };
    let slices = Dataset::ALL.map(slice_of);
    fuzz::run(&slices, 1_000, count);
    let streams = slices.map(|slice| zstd::decode_all(slice.as_slice()).unwrap());
    let pack = |stream: &[u8]| zstd::bulk::compress(stream, 1).unwrap();
    fuzz::run(&streams, 4_000, |stream| count(&pack(stream)));
    // Where bytes move, nearly all ends at a length that is not right; so here they stay where they are.
    fuzz::run(&[vec![0; 32]], 4_000, |choice| {
        let mut source = Source::new(xxh3_64(choice));
        let mut stream = streams[source.below(streams.len())].clone();
        for _ in 0..1 + source.below(3) {
            let at = source.below(stream.len());
            stream[at] = [
                stream[at] ^ (1 << source.below(8)),
                0,
                0x7f,
                0xff,
                source.number() as u8,
            ][source.below(5)];
        }
        count(&pack(&stream));
    });
    // Both happen, or the test looks at one way only.
    println!("{} read, {} refused", read.get(), refused.get());
    assert!(fuzz::number("OTLP_FUZZ_ROUNDS").is_some() || (read.get() > 500 && refused.get() > 2_000));
}

#[test]
fn mutated_trace_indexes_are_searched_to_an_end() {
    let entries = (0..500u32).map(|n| index::TraceEntry::new(&n.to_be_bytes().repeat(4), n / 10));
    fuzz::run(&[index::encode(entries.collect())], 3_000, |bytes| {
        let entries = bytes.len() as u64 / index::ENTRY_BYTES;
        for claimed in [0, entries, entries + 1, u64::MAX / 8] {
            let range = index::guess(&[7; 16], claimed);
            assert!(range.start <= range.end && range.end <= claimed);
            let _ = index::search(&[7; 16], bytes, range, claimed);
        }
    });
}

/// Parts in the store are replaced by what is nearly the same, and read in all the ways there are.
#[test]
fn mutated_parts_are_errors() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let owner = tenant("a");
    for dataset in Dataset::ALL {
        let world = World::new();
        let (part, bytes) = runtime.block_on(async {
            let lake = world.process().await;
            // Resources and series come with items only.
            let batches = Dataset::ALL.map(|dataset| (dataset, random_batch(dataset, 3, 300, NOON, NOON + SECOND)));
            lake.commit(commit_of(&owner, 1, &batches)).await.unwrap();
            lake.compact(&owner, dataset, &options(), ALL).await.unwrap().unwrap();
            let part = lake.catalog().live_parts(&owner, dataset).await.unwrap().remove(0);
            let object = lake.store().get(&Path::from(part.path.as_str())).await.unwrap();
            (part, object.bytes().await.unwrap().to_vec())
        });
        let footer = bytes.len() - part.footer_bytes as usize;
        for seed in fuzz::seeds(40) {
            let mut source = Source::new(seed);
            let mut damaged = bytes.clone();
            // One in two only in the footer, which decides what is read how.
            match source.below(4) {
                0 => damaged.truncate(source.below(bytes.len())),
                1 => fuzz::mutate(&mut damaged, &bytes, &mut source),
                _ => {
                    let mut end = damaged.split_off(footer);
                    fuzz::mutate(&mut end, &bytes, &mut source);
                    damaged.extend(end);
                }
            }
            println!("{dataset}: OTLP_FUZZ_SEED={seed}"); // the last one printed is the one that failed
            runtime.block_on(async {
                let length = damaged.len() as i64;
                // A process of its own, because the other has cached what was there.
                let lake = world.process().await;
                let path = Path::from(part.path.as_str());
                let store: &Arc<dyn ObjectStore> = lake.store();
                store.put(&path, damaged.into()).await.unwrap();
                // As long as the catalog says, and as long as it is.
                for bytes in [part.bytes, length] {
                    let mut part = part.clone();
                    part.bytes = bytes;
                    let _ = lake.part_batches(&part).await;
                    if dataset == Dataset::Spans
                        && let Ok(mut blocks) = lake.trace_rows(&part, &[7; 16]).await
                    {
                        while let Ok(Some(_)) = blocks.next().await {}
                    }
                    let reader = lake.part_reader(PartFile::from(&part));
                    if let Ok(footer) = reader.footer().await {
                        let rows = RowReader::new(reader, footer);
                        for group in rows.row_groups().collect::<Vec<_>>() {
                            if let Ok(batch) = rows.read(group, |_| true, None).await {
                                let _ = lake::part::decode(dataset, batch.clone());
                                if let Some(chunks) = Chunks::of(dataset) {
                                    chunks.rows(&batch, 100).for_each(drop);
                                }
                            }
                        }
                    }
                }
            });
        }
    }
}
