//! Segments of random rows are read back as they were.

use lake::segment::{self, Rows};
use schema::Dataset;
use schema::sparse::SparseBatch;

use crate::fixture::*;
use crate::rows::random_batch;

#[test]
fn random_rows_come_back() {
    for seed in 0..40 {
        let rows = Dataset::ALL.map(|dataset| Rows {
            tenant: tenant(["a", "b"][seed as usize % 2]),
            dataset,
            batch: SparseBatch::from_dense(&random_batch(dataset, seed, 1 + seed as usize * 7, -DAY, NOON)).unwrap(),
        });
        let encoded = segment::encode(&rows).unwrap();
        assert_eq!(encoded.slices.len(), rows.len());
        for (slice, rows) in encoded.slices.iter().zip(rows) {
            assert_eq!((&slice.tenant, slice.dataset), (&rows.tenant, rows.dataset));
            let bytes = &encoded.bytes[slice.offset as usize..(slice.offset + slice.length) as usize];
            let read = segment::decode_slice(bytes, slice.checksum, "s").unwrap();
            assert_eq!(read.num_rows(), rows.batch.num_rows());
            assert_eq!(
                read.to_dense().unwrap(),
                rows.batch.to_dense().unwrap(),
                "seed {seed}: {}",
                rows.dataset
            );
        }
    }
}
