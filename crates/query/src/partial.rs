//! What a query does without: quarantined objects that may hold rows it asks for.
//!
//! Collected while the query is planned, when its filters say which times it looks at; so an answer knows that it is
//! partial before its first row.

use std::collections::BTreeMap;

use catalog::Quarantined;
use parking_lot::Mutex;
use schema::{Dataset, time_text};

/// Objects named in a reason; a thousand have one cause.
const NAMED: usize = 3;

/// The objects that a query does without.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<BTreeMap<i64, Quarantined>>);

impl LeftOut {
    pub(crate) fn add<'a>(&self, entries: impl IntoIterator<Item = &'a Quarantined>) {
        let mut left_out = self.0.lock();
        for entry in entries {
            left_out.entry(entry.id).or_insert_with(|| entry.clone());
        }
    }

    /// Why the answer is partial; `None` if it is whole. One line of ASCII.
    pub(crate) fn reason(&self) -> Option<String> {
        let left_out = self.0.lock();
        if left_out.is_empty() {
            return None;
        }
        let mut datasets: BTreeMap<Dataset, (i64, i64, i64)> = BTreeMap::new();
        for entry in left_out.values() {
            let (rows, from, to) = datasets.entry(entry.dataset).or_insert((0, i64::MAX, i64::MIN));
            *rows += entry.rows;
            *from = entry.min_ts.min(*from);
            *to = entry.max_ts.max(*to);
        }
        let rows = datasets.iter().map(|(dataset, (rows, from, to))| {
            let (from, to) = (time_text(*from), time_text(*to));
            format!("{rows} rows of {dataset} between {from} and {to}")
        });
        let rows = rows.collect::<Vec<_>>().join(", ");
        let named = left_out
            .values()
            .take(NAMED)
            .map(|entry| format!("{} ({})", entry.path, entry.reason));
        let mut named = named.collect::<Vec<_>>().join(", ");
        if left_out.len() > NAMED {
            named += &format!(" and {} more", left_out.len() - NAMED);
        }
        let reason = format!("partial result: left out are {rows}, in quarantine: {named}");
        Some(reason.replace(|c: char| !(' '..='~').contains(&c), "?"))
    }
}

#[cfg(test)]
mod tests {
    use catalog::Holder;
    use schema::TenantId;

    use super::*;

    #[test]
    fn names_what_is_left_out() {
        let left_out = LeftOut::default();
        assert_eq!(left_out.reason(), None);
        let entry = |id: i64| Quarantined {
            id,
            holder: Holder::Part(id),
            path: format!("t/{id}"),
            tenant: TenantId::default(),
            dataset: if id < 2 { Dataset::Spans } else { Dataset::Logs },
            rows: 10,
            min_ts: id * 1_000_000_000,
            max_ts: id * 2_000_000_000,
            reason: "it is\nm\u{fc}rbe".to_owned(),
            quarantined_at: 0,
        };
        left_out.add(&[entry(0), entry(1), entry(1)]);
        assert_eq!(
            left_out.reason().unwrap(),
            "partial result: left out are 20 rows of spans between 1970-01-01T00:00:00.000000000Z and \
             1970-01-01T00:00:02.000000000Z, in quarantine: t/0 (it is?m?rbe), t/1 (it is?m?rbe)"
        );
        left_out.add(&[entry(2), entry(3), entry(4)]);
        let reason = left_out.reason().unwrap();
        assert!(
            reason.contains("30 rows of logs") && reason.ends_with("and 2 more"),
            "{reason}"
        );
    }
}
