//! Leases change hands only when they are free, and every change of hands moves the fence.

use std::time::Duration;

use catalog::*;

use crate::fixture::*;

pub async fn a_lease_has_one_holder_until_it_expires(database: Database) {
    let catalog = database.migrated().await;
    let take = |holder: &'static str, now| catalog.acquire_lease("x", holder, MINUTE, now);
    let first = take("p1", NOW).await.unwrap().unwrap();
    assert_eq!((first.token, first.expires_at), (1, NOW + 60 * SECOND));
    assert_eq!(take("p2", NOW + 60 * SECOND - 1).await.unwrap(), None);
    let again = take("p1", NOW + SECOND).await.unwrap().unwrap();
    assert_eq!((again.token, again.expires_at), (1, NOW + 61 * SECOND));
    assert!(catalog.renew_lease(&first, MINUTE, NOW + 2 * SECOND).await.unwrap());
    assert_eq!(take("p2", NOW + 61 * SECOND).await.unwrap(), None, "renewed until 62 s");
    let second = take("p2", NOW + 62 * SECOND).await.unwrap().unwrap();
    assert_eq!(second.token, 2);
    assert!(!catalog.renew_lease(&first, MINUTE, NOW + 62 * SECOND).await.unwrap());
    assert_eq!(take("p1", NOW + 63 * SECOND).await.unwrap(), None);
    catalog.release_lease(&first).await.unwrap(); // no longer ours: nothing happens
    assert!(catalog.renew_lease(&second, MINUTE, NOW).await.unwrap());
    assert_eq!(take("p1", NOW + 300 * SECOND).await.unwrap().unwrap().token, 3);
    assert_eq!(
        catalog
            .acquire_lease("y", "p2", MINUTE, NOW)
            .await
            .unwrap()
            .unwrap()
            .token,
        1
    );
    let for_ever = catalog
        .acquire_lease("z", "p", Duration::MAX, NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(for_ever.expires_at, i64::MAX);
    for (name, holder) in [("", "p"), ("x", ""), ("x\0", "p"), ("x", "\0")] {
        let refused = catalog.acquire_lease(name, holder, MINUTE, NOW).await;
        assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{refused:?}");
    }
}

pub async fn a_lease_of_a_wrong_clock_holds_nobody_up(database: Database) {
    let catalog = database.migrated().await;
    let hours_ahead = NOW + 3 * 3600 * SECOND;
    let wrong = catalog
        .acquire_lease("x", "p1", MINUTE, hours_ahead)
        .await
        .unwrap()
        .unwrap();
    let right = catalog.acquire_lease("x", "p2", MINUTE, NOW).await.unwrap().unwrap();
    assert_eq!(right.token, wrong.token + 1);
    assert!(!catalog.renew_lease(&wrong, MINUTE, hours_ahead).await.unwrap());
    // Processes with different settings, or clocks that differ a little, do not take each other's leases.
    let long = catalog.acquire_lease("y", "p1", 10 * MINUTE, NOW).await.unwrap();
    assert!(long.is_some());
    assert_eq!(catalog.acquire_lease("y", "p2", MINUTE, NOW).await.unwrap(), None);
}

pub async fn a_released_lease_is_fenced(database: Database) {
    let catalog = database.migrated().await;
    let first = catalog.acquire_lease("x", "p1", MINUTE, NOW).await.unwrap().unwrap();
    catalog.release_lease(&first).await.unwrap();
    assert!(!catalog.renew_lease(&first, MINUTE, NOW).await.unwrap());
    let ids = commit(&catalog, &segment("s/1", &[(0, 1)], &[])).await;
    let change = replacement(ids, vec![], vec![]);
    let refused = catalog.replace(&change, &first, NOW, MINUTE).await;
    assert!(matches!(refused, Err(CatalogError::Fenced { .. })), "{refused:?}");
    let again = catalog.acquire_lease("x", "p1", MINUTE, NOW).await.unwrap().unwrap();
    assert_eq!(again.token, 2, "even the same holder starts anew");
    let refused = catalog.replace(&change, &first, NOW, MINUTE).await;
    assert!(
        matches!(refused, Err(CatalogError::Fenced { token: 1, .. })),
        "{refused:?}"
    );
    assert!(!catalog.renew_lease(&first, MINUTE, NOW).await.unwrap());
    catalog.replace(&change, &again, NOW, MINUTE).await.unwrap();
}

pub async fn of_many_who_want_a_lease_one_gets_it(database: Database) {
    database.migrated().await;
    let catalogs = [database.connect().await, database.connect().await];
    for round in 0..5 {
        let tasks: Vec<_> = (0..10)
            .map(|n| {
                let catalog = catalogs[n % 2].clone();
                let holder = format!("p{n}");
                let now = NOW + round * 100 * SECOND;
                tokio::spawn(async move { catalog.acquire_lease("x", &holder, MINUTE, now).await.unwrap() })
            })
            .collect();
        let mut got = Vec::new();
        for task in tasks {
            got.extend(task.await.unwrap());
        }
        assert_eq!(got.len(), 1, "{got:?}");
    }
}
